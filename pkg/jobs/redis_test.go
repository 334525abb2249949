package jobs

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/embedded"
)

// onRedis runs a test on the embedded Redis and, where the program is installed, on a real one of its own.
func onRedis(t *testing.T, test func(t *testing.T, rdb *redis.Client)) {
	t.Run("embedded", func(t *testing.T) {
		r, err := embedded.Start("")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		rdb := redis.NewClient(r.Options())
		t.Cleanup(func() { _ = rdb.Close() })
		test(t, rdb)
	})
	t.Run("real", func(t *testing.T) { test(t, realRedis(t)) })
}

// realRedis starts a redis-server that ends with the test.
func realRedis(t *testing.T) *redis.Client {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("GATHERQ_REQUIRE"), ","), "redis") {
			t.Fatal("redis-server is required: ", err)
		}
		t.Skip("no redis-server here: ", err)
	}
	dir := t.TempDir()
	socket := dir + "/redis.sock"
	if len(socket) > 100 { // the system's limit for the names of sockets
		dir, err = os.MkdirTemp("", "gq")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		socket = dir + "/redis.sock"
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), path, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.Contains(strings.ToLower(lines.Text()), "ready to accept connections") {
	}
	go func() {
		for lines.Scan() { // keeps the server from blocking on its log
		}
	}()
	rdb := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
	t.Cleanup(func() { _ = rdb.Close() })
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	return rdb
}

// unreachable returns a client of a Redis that nobody ever asks.
func unreachable(t *testing.T) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// silent returns a client of a listener that accepts and never answers.
func silent(t *testing.T) *redis.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var held sync.Map
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			held.Store(conn, true)
		}
	}()
	rdb := redis.NewClient(&redis.Options{Addr: l.Addr().String()})
	t.Cleanup(func() {
		_ = l.Close()
		held.Range(func(conn, _ any) bool { _ = conn.(net.Conn).Close(); return true })
		_ = rdb.Close()
	})
	return rdb
}

func newClient(t *testing.T, rdb redis.UniversalClient, cfg ClientConfig) *Client {
	t.Helper()
	c, err := NewClient(rdb, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// keysNow lists all keys but those that a namespace has whether or not anything was created: its agreement.
func keysNow(t *testing.T, rdb *redis.Client) []string {
	t.Helper()
	all, err := rdb.Keys(t.Context(), "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(k string) bool { return strings.HasSuffix(k, "}:meta") })
	slices.Sort(all)
	return all
}

// eventually waits for what others do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("not in 10 s: ", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// countingLog counts warnings and worse.
type countingLog struct {
	slog.Handler
	mu sync.Mutex
	n  int
}

func (l *countingLog) logger() *slog.Logger { return slog.New(l) }

func (l *countingLog) Enabled(context.Context, slog.Level) bool { return true }

func (l *countingLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Level >= slog.LevelWarn {
		l.n++
	}
	return nil
}

// queueLength returns how many deliveries wait in a queue.
func queueLength(t *testing.T, rdb *redis.Client, namespace, queue string) int64 {
	t.Helper()
	n, err := rdb.LLen(t.Context(), fmt.Sprintf("asynq:{%s:%s}:pending", namespace, queue)).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// lost makes answers of Redis get lost after the commands were executed.
type lost struct {
	hang      atomic.Bool  // the connection stays silent until the test ends
	hangAfter atomic.Int64 // so many trips from now hang begins; 0: never
	drop      atomic.Int64 // so many answers are replaced by the end of the connection
	over      chan struct{}
}

func lose(t *testing.T, rdb *redis.Client) *lost {
	l := &lost{over: make(chan struct{})}
	rdb.AddHook(l)
	t.Cleanup(func() { close(l.over) })
	return l
}

func (l *lost) after(cmds ...redis.Cmder) error {
	if l.hangAfter.Load() > 0 && l.hangAfter.Add(-1) == 0 {
		l.hang.Store(true)
	}
	if l.hang.Load() {
		<-l.over
	}
	for {
		n := l.drop.Load()
		if n == 0 {
			return nil
		}
		if l.drop.CompareAndSwap(n, n-1) {
			for _, cmd := range cmds {
				cmd.SetErr(io.EOF)
			}
			return io.EOF
		}
	}
}

func (*lost) DialHook(next redis.DialHook) redis.DialHook { return next }

func (l *lost) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if again := l.after(cmd); again != nil {
			return again
		}
		return err
	}
}

func (l *lost) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		if again := l.after(cmds...); again != nil {
			return again
		}
		return err
	}
}
