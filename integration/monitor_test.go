package integration

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
)

// line is one command of a client, as MONITOR shows it. What scripts call is left out.
type line struct {
	at    time.Time // by Redis' clock
	addr  string    // of the client
	words []string
}

// observer collects what clients send to a real Redis until the test ends.
type observer struct {
	mu    sync.Mutex
	lines []line
}

// watch starts one; what is sent after it returned is in it.
func watch(t *testing.T, s *redistest.Server) *observer {
	t.Helper()
	opts, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial(opts.Network, opts.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprint(c, "MONITOR\r\n"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReaderSize(c, 1<<20)
	if ok, err := r.ReadString('\n'); err != nil || strings.TrimSpace(ok) != "+OK" {
		t.Fatalf("MONITOR: %q, %v", ok, err)
	}
	m := &observer{}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			text, err := r.ReadString('\n')
			if err != nil {
				return
			}
			if l, ok := parseMonitor(text); ok {
				m.mu.Lock()
				m.lines = append(m.lines, l)
				m.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		c.Close()
		<-ended
	})
	return m
}

// parseMonitor reads `+1795360439.123456 [0 127.0.0.1:5555] "command" "argument"…`.
func parseMonitor(text string) (l line, ok bool) {
	head, rest, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(text, "+")), "] ")
	if !ok {
		return l, false
	}
	stamp, client, ok := strings.Cut(head, " [")
	_, addr, ok2 := strings.Cut(client, " ")
	seconds, err := strconv.ParseFloat(stamp, 64)
	if !ok || !ok2 || err != nil || addr == "lua" {
		return l, false
	}
	l.at, l.addr = time.UnixMicro(int64(seconds*1e6)), addr
	for rest != "" {
		word, err := strconv.QuotedPrefix(rest)
		if err != nil {
			break // cut off, or bytes that Go quotes otherwise; what matters stands before
		}
		plain, err := strconv.Unquote(word)
		if err != nil {
			break
		}
		l.words = append(l.words, plain)
		rest = strings.TrimPrefix(rest[len(word):], " ")
	}
	return l, len(l.words) > 0
}

// take returns what came so far, and forgets it.
func (m *observer) take() []line {
	m.mu.Lock()
	defer m.mu.Unlock()
	lines := m.lines
	m.lines = nil
	return lines
}

// keys are those of a script's call, or whatever follows the name of another command.
func (l line) keys() []string {
	if name := strings.ToLower(l.words[0]); (name == "evalsha" || name == "eval") && len(l.words) > 3 {
		n, _ := strconv.Atoi(l.words[2])
		return l.words[3:min(3+n, len(l.words))]
	}
	return l.words[1:]
}

// is reports whether it is that command, with a first key that contains part.
func (l line) is(name, part string) bool {
	keys := l.keys()
	return strings.ToLower(l.words[0]) == name && (part == "" || len(keys) > 0 && strings.Contains(keys[0], part))
}

func (l line) String() string {
	return fmt.Sprintf("%s %s %.300q", l.at.Format("05.000"), l.addr, l.words)
}

// long skips a test that takes many minutes or much of the machine, unless GATHERQ_LONG is set.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("GATHERQ_LONG") == "" {
		t.Skip("takes long: set GATHERQ_LONG=1")
	}
}
