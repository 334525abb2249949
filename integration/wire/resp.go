package wire

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // EVALSHA names scripts by SHA-1
	"encoding/hex"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
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
	values := 0
	switch line[0] {
	case '+', '-', ':', '_', '#', ',', '(':
		return raw, nil
	}
	n, err := strconv.Atoi(strings.TrimRight(string(line[1:]), "\r\n"))
	if err != nil || n > maxBulk {
		return raw, fmt.Errorf("not an answer: %q", line)
	}
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

// Book knows scripts by name that went through any of its proxies with their text. Those of gatherq say their name in the header
// that ends with KEYS.
type Book struct {
	mu    sync.Mutex
	names map[string]string
}

var scriptName = regexp.MustCompile(`(?m)^-- ([a-z_]+)\b[^\n]*\n(?:-- [^\n]*\n)*?-- KEYS`)

func (b *Book) learn(text string) {
	name := "script"
	if m := scriptName.FindAllStringSubmatch(text, -1); m != nil {
		name = m[len(m)-1][1]
	}
	sum := sha1.Sum([]byte(text)) //nolint:gosec // as above
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
		sum := sha1.Sum([]byte(words[1])) //nolint:gosec // as above
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
