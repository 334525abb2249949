package wire

import (
	"bufio"
	"crypto/sha1" // EVALSHA names scripts by it
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// maxBulk bounds one string: Redis' own limit.
const maxBulk = 512 << 20

// readCommand reads one command, an array of bulk strings as every client sends them, and returns its words and its bytes.
func readCommand(r *bufio.Reader) (words []string, raw []byte, err error) {
	n, raw, err := header(r, raw, '*')
	if err != nil {
		return nil, nil, err
	}
	for range n {
		var size int
		if size, raw, err = header(r, raw, '$'); err != nil {
			return nil, nil, err
		}
		begin := len(raw)
		raw = append(raw, make([]byte, size+2)...)
		if _, err := io.ReadFull(r, raw[begin:]); err != nil {
			return nil, nil, err
		}
		words = append(words, string(raw[begin:begin+size]))
	}
	return words, raw, nil
}

// header reads a line that is a mark and a number.
func header(r *bufio.Reader, raw []byte, mark byte) (int, []byte, error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, raw, err
	}
	n, err := strconv.Atoi(strings.TrimRight(string(line[1:]), "\r\n"))
	if line[0] != mark || err != nil || n < 0 || n > maxBulk {
		return 0, raw, fmt.Errorf("not a command of a client: %q", line)
	}
	return n, append(raw, line...), nil
}

// readAnswer reads one value of RESP 2 or 3, whole, and returns its bytes; push is the first word of a push, else empty.
func readAnswer(r *bufio.Reader) (raw []byte, push string, err error) {
	raw, err = appendValue(r, nil)
	if err == nil && raw[0] == '>' { // >3\r\n$9\r\nsubscribe\r\n…
		if words := strings.SplitN(string(raw), "\r\n", 4); len(words) > 2 {
			push = words[2]
		}
	}
	return raw, push, err
}

func appendValue(r *bufio.Reader, raw []byte) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return raw, err
	}
	raw = append(raw, line...)
	switch line[0] {
	case '+', '-', ':', '_', '#', ',', '(':
		return raw, nil
	}
	n, err := strconv.Atoi(strings.TrimRight(string(line[1:]), "\r\n"))
	if err != nil || n > maxBulk {
		return raw, fmt.Errorf("not an answer: %q", line)
	}
	var values int
	switch line[0] {
	case '$', '=', '!':
		if n < 0 {
			return raw, nil
		}
		begin := len(raw)
		raw = append(raw, make([]byte, n+2)...)
		_, err := io.ReadFull(r, raw[begin:])
		return raw, err
	case '*', '~', '>':
		values = n
	case '%':
		values = 2 * n
	case '|': // attributes, and then the value that they belong to
		values = 2*n + 1
	default:
		return raw, fmt.Errorf("not an answer: %q", line)
	}
	for range values {
		if raw, err = appendValue(r, raw); err != nil {
			return raw, err
		}
	}
	return raw, nil
}

// Book knows the names of scripts that went through any of its proxies with their text.
type Book struct {
	lines map[string]string // line of a script's own file that stands in no other → the script's name

	mu    sync.Mutex
	names map[string]string // SHA-1 → name
}

// ReadBook returns a Book that knows the scripts whose files match the patterns. A script is the file of which it has the most lines;
// fragments, whose header has no KEYS, do not count.
func ReadBook(t testing.TB, patterns ...string) *Book {
	t.Helper()
	b := &Book{lines: map[string]string{}}
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("wire: no scripts %s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name := strings.TrimSuffix(filepath.Base(file), ".lua")
			if !strings.Contains(string(text), "\n-- KEYS ") {
				name = ""
			}
			for line := range strings.Lines(string(text)) {
				line = strings.TrimSpace(line)
				if other, there := b.lines[line]; there && other != name {
					b.lines[line] = ""
				} else {
					b.lines[line] = name
				}
			}
		}
	}
	return b
}

func (b *Book) learn(text string) {
	count, name := map[string]int{}, "script"
	for line := range strings.Lines(text) {
		if of := b.lines[strings.TrimSpace(line)]; of != "" {
			if count[of]++; count[of] > count[name] {
				name = of
			}
		}
	}
	sum := sha1.Sum([]byte(text)) // EVALSHA names scripts by it
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.names == nil {
		b.names = map[string]string{}
	}
	b.names[hex.EncodeToString(sum[:])] = name
}

// name says what a command is, for people and for Fault.From: "hset", "evalsha settle".
func (b *Book) name(words []string) string {
	if len(words) == 0 {
		return ""
	}
	name := strings.ToLower(words[0])
	if len(words) < 2 {
		return name
	}
	switch name {
	case "eval":
		b.learn(words[1])
		sum := sha1.Sum([]byte(words[1]))
		return "eval " + b.script(hex.EncodeToString(sum[:]))
	case "evalsha":
		return "evalsha " + b.script(words[1])
	}
	return name
}

func (b *Book) script(sha string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if name, ok := b.names[sha]; ok {
		return name
	}
	return "?"
}
