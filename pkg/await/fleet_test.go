package await_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// fleet is a client and a worker with tasks whose end the test decides.
type fleet struct {
	t     *testing.T
	rdb   *redis.Client
	c     *jobs.Client
	gates sync.Map // name → chan answer
}

// answer is how a gated task ends.
type answer struct {
	value int
	err   error
}

var (
	double = jobs.Define[int, int]("double")
	gated  = jobs.Define[string, int]("gated")
	word   = jobs.Define[string, string]("word")
	fails  = jobs.Define[string, int]("fails")
)

const errNoImage = jobs.ErrorCode("image.missing")

// each runs a test on the embedded Redis and on a real one.
func each(t *testing.T, test func(t *testing.T, f *fleet)) {
	t.Helper()
	t.Run("embedded", func(t *testing.T) {
		// On a port, as other processes see it: over its pipe no notice can be lost, and the inbox checks less often.
		r, err := embedded.Start("127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		test(t, newFleet(t, &redis.Options{Addr: r.Addr()}))
	})
	t.Run("real", func(t *testing.T) {
		_, opts := realRedis(t)
		test(t, newFleet(t, opts))
	})
}

// realRedis starts a redis-server that ends with the test.
func realRedis(t *testing.T) (*os.Process, *redis.Options) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("GATHERQ_REQUIRE"), ","), "redis") {
			t.Fatal("redis-server is required: ", err)
		}
		t.Skip("no redis-server here: ", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	_ = l.Close()
	cmd := exec.Command(path, "--port", fmt.Sprint(addr.Port), "--bind", "127.0.0.1", "--save", "", "--dir", t.TempDir(), "--logfile", "redis.log")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	rdb := redis.NewClient(&redis.Options{Addr: addr.String()})
	defer rdb.Close()
	within(t, 10*time.Second, "redis-server", func() bool { return rdb.Ping(t.Context()).Err() == nil })
	return cmd.Process, &redis.Options{Addr: addr.String()}
}

// within polls until ok, or fails the test.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(d)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, d)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func newFleet(t *testing.T, opts *redis.Options) *fleet {
	t.Helper()
	f := &fleet{t: t, rdb: redis.NewClient(opts)}
	t.Cleanup(func() { _ = f.rdb.Close() })
	f.c = f.client(jobs.ClientConfig{})
	w, err := jobs.NewWorker(f.c, jobs.WorkerConfig{Concurrency: 64, Drain: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	jobs.Handle(w, double, func(_ context.Context, n int) (int, error) { return 2 * n, nil })
	jobs.Handle(w, word, func(_ context.Context, s string) (string, error) { return s, nil })
	jobs.Handle(w, fails, func(_ context.Context, s string) (int, error) { return 0, fmt.Errorf("%s: %w", s, errNoImage) })
	jobs.Handle(w, gated, func(ctx context.Context, name string) (int, error) {
		select {
		case a := <-f.gate(name):
			return a.value, a.err
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		w.Abort()
		<-ended // with an error, where a gate was left closed
	})
	select {
	case <-w.Ready():
	case err := <-ended:
		t.Fatal("worker: ", err)
	}
	return f
}

func (f *fleet) client(cfg jobs.ClientConfig) *jobs.Client {
	f.t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	c, err := jobs.NewClient(f.rdb, cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = c.Close() })
	return c
}

func (f *fleet) gate(name string) chan answer {
	c, _ := f.gates.LoadOrStore(name, make(chan answer, 1))
	return c.(chan answer)
}

// open ends a gated task.
func (f *fleet) open(name string, value int) { f.gate(name) <- answer{value: value} }

func (f *fleet) fail(name, message string) { f.gate(name) <- answer{err: errors.New(message)} }

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (f *fleet) gatedTask(name string) *jobs.Task[int] {
	f.t.Helper()
	return must[*jobs.Task[int]](f.t)(jobs.CreateTask(f.t.Context(), f.c, gated.Call(name)))
}

func (f *fleet) gather(names ...string) *jobs.Group[int] {
	f.t.Helper()
	return must[*jobs.Group[int]](f.t)(jobs.Gather(f.t.Context(), f.c, gated.Calls(names...)))
}
