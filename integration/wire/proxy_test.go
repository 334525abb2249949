package wire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
)

// through returns a client of a Redis behind a proxy, one of the Redis itself, and the proxy.
func through(t *testing.T) (*redis.Client, *redis.Client, *Proxy) {
	t.Helper()
	s := redistest.Any(t)
	direct := s.Client(t)
	dir := t.TempDir()
	for name, text := range map[string]string{"double.lua": "-- double does it\n-- KEYS none\nlocal x = 1\nreturn {ARGV[1], {2, 3}}\n", "part.lua": "-- part of many\nlocal x = 1\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := Start(t, direct.Options().Addr, ReadBook(t, filepath.Join(dir, "*.lua")))
	rdb := redis.NewClient(&redis.Options{Addr: p.listener.Addr().String(), MaxRetries: -1, PoolSize: 4})
	t.Cleanup(func() { rdb.Close() })
	if err := rdb.Ping(t.Context()).Err(); err != nil { // the connection's own commands are over
		t.Fatal(err)
	}
	return rdb, direct, p
}

func struck(t *testing.T, p *Proxy) {
	t.Helper()
	select {
	case <-p.Struck():
	case <-time.After(30 * time.Second):
		t.Fatalf("the fault does not happen; counted: %q", p.Names())
	}
}

// Of a pipeline of five commands the third one meets each of the losses.
func TestLosses(t *testing.T) {
	t.Parallel()
	for loss, want := range map[Loss]struct {
		executed, answered int
		next               string // what the next command gets
	}{
		Dies:    {3, 0, "error"},
		Unsent:  {2, 2, "ok"},
		Answer:  {3, 2, "ok"},
		Answers: {5, 2, "ok"},
	} {
		t.Run(loss.String(), func(t *testing.T) {
			t.Parallel()
			rdb, direct, p := through(t)
			killed := 0
			p.Arm(Fault{At: 3, Loss: loss, From: func(name string) bool { return name == "incr" }, Kill: func() { killed++ }})
			if err := rdb.Ping(t.Context()).Err(); err != nil { // not counted
				t.Fatal(err)
			}
			// By hand: go-redis forgets the answers of a pipeline that was cut.
			c, err := net.Dial("tcp", p.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if _, err := io.WriteString(c, strings.Repeat("*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n", 5)); err != nil {
				t.Fatal(err)
			}
			answers, err := io.ReadAll(c)
			if err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the connection ends with %v", err)
			}
			struck(t, p)
			if n, err := direct.Get(t.Context(), "n").Int(); n != want.executed || err != nil {
				t.Errorf("%d were executed (%v), want %d", n, err, want.executed)
			}
			if answered := strings.Count(string(answers), "\r\n"); loss != Dies && answered != want.answered { // who dies may hear what came before
				t.Errorf("%d were answered, want %d", answered, want.answered)
			}
			if err := rdb.Ping(t.Context()).Err(); (err == nil) != (want.next == "ok") {
				t.Errorf("afterwards: %v", err)
			}
			if wantKilled := map[bool]int{true: 1}[loss == Dies]; killed != wantKilled {
				t.Errorf("killed %d times", killed)
			}
			if names := p.Names(); len(names) < 3 || slices.Contains(names[:3], "ping") {
				t.Errorf("counted: %q", names)
			}
		})
	}
}

// Nothing of what other connections send comes behind the command at which the program dies.
func TestNothingComesBehindADeath(t *testing.T) {
	t.Parallel()
	rdb, direct, p := through(t)
	const last = 100
	p.Arm(Fault{At: last, From: func(name string) bool { return name == "incr" }})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for rdb.Incr(t.Context(), "n").Err() == nil {
			}
		})
	}
	struck(t, p)
	all.Wait()
	incr := 0
	for _, name := range p.Names() {
		if name == "incr" {
			incr++
		}
	}
	if n, err := direct.Get(t.Context(), "n").Int(); n != incr || len(p.Names()) != last || err != nil {
		t.Errorf("%d were executed of %d that were counted, %d in all; %v", n, incr, len(p.Names()), err)
	}
}

// What nobody breaks arrives as it was sent: large values, all kinds of answers, scripts, subscriptions and what is published.
func TestAWholeWire(t *testing.T) {
	t.Parallel()
	rdb, _, p := through(t)
	p.Arm(Fault{})
	ctx := t.Context()
	large := strings.Repeat("x\r\n", 200_000)
	if err := rdb.Set(ctx, "large", large, 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got := rdb.Get(ctx, "large").Val(); got != large {
		t.Errorf("%d bytes came back of %d", len(got), len(large))
	}
	if err := rdb.HSet(ctx, "h", "a", "1", "b", "2").Err(); err != nil {
		t.Fatal(err)
	}
	if m, err := rdb.HGetAll(ctx, "h").Result(); len(m) != 2 || err != nil {
		t.Errorf("%v, %v", m, err)
	}
	if err := rdb.Get(ctx, "none").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("%v", err)
	}
	script := redis.NewScript("local x = 1\nreturn {ARGV[1], {2, 3}}")
	for range 2 {
		if v, err := script.Run(ctx, rdb, nil, "x").Slice(); err != nil || len(v) != 2 {
			t.Errorf("%v, %v", v, err)
		}
	}
	sub := rdb.Subscribe(ctx, "c", "d")
	defer sub.Close()
	for range 2 {
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := rdb.Publish(ctx, "d", "hello").Err(); err != nil {
		t.Fatal(err)
	}
	bounded, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	if m, err := sub.ReceiveMessage(bounded); err != nil || m.Payload != "hello" {
		t.Errorf("%v, %v", m, err)
	}
	names := p.Names()
	for _, want := range []string{"set", "hgetall", "evalsha ?", "eval double", "evalsha double", "subscribe", "publish"} {
		if !slices.Contains(names, want) {
			t.Errorf("%q is not among %q", want, names)
		}
	}
}

// The answer to a subscription can be lost as any other.
func TestALostSubscription(t *testing.T) {
	t.Parallel()
	rdb, _, p := through(t)
	p.Arm(Fault{At: 1, Loss: Answer, From: func(name string) bool { return name == "subscribe" }})
	sub := rdb.Subscribe(t.Context(), "c")
	defer sub.Close()
	struck(t, p)
	eventually := time.After(30 * time.Second)
	for {
		if m, err := sub.ReceiveTimeout(t.Context(), time.Second); err == nil {
			if _, ok := m.(*redis.Subscription); ok {
				return // on its next connection
			}
		}
		select {
		case <-eventually:
			t.Fatal("it does not come back")
		default:
		}
	}
}

func TestAnswersAreReadWhole(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"+OK\r\n", "-ERR no\r\n", ":1\r\n", "_\r\n", "#t\r\n", ",1.5\r\n", "(123\r\n", "$-1\r\n", "$0\r\n\r\n", "$4\r\na\r\nb\r\n", "=5\r\ntxt:a\r\n",
		"!3\r\nERR\r\n", "*-1\r\n", "*0\r\n", "*2\r\n:1\r\n*1\r\n$1\r\nx\r\n", "~1\r\n+a\r\n", "%1\r\n+a\r\n:1\r\n", "|1\r\n+a\r\n:1\r\n*1\r\n:2\r\n",
		">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
	} {
		r := bufio.NewReader(strings.NewReader(answer + "+next\r\n"))
		raw, push, err := readAnswer(r)
		if string(raw) != answer || err != nil || (push == "subscribe") != strings.HasPrefix(answer, ">") {
			t.Errorf("%q: %q, %q, %v", answer, raw, push, err)
		}
	}
	for _, broken := range []string{"?\r\n", "$x\r\n", "*2\r\n:1\r\n", "$5\r\nab"} {
		if raw, _, err := readAnswer(bufio.NewReader(strings.NewReader(broken))); err == nil {
			t.Errorf("%q: %q and no error", broken, raw)
		}
	}
	for _, broken := range []string{"PING\r\n", "*1\r\n:1\r\n", "*1\r\n$-1\r\n", "*x\r\n", fmt.Sprintf("*1\r\n$%d\r\n", maxBulk+1), "*1\r\n$4\r\nPI"} {
		if words, _, err := readCommand(bufio.NewReader(strings.NewReader(broken))); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%q: %q, %v", broken, words, err)
		}
	}
}
