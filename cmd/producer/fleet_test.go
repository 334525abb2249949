package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/internal/tasks"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// fleet is a Redis that commands reach over a port, and workers on it.
type fleet struct {
	t        *testing.T
	url      string
	rdb      *redis.Client
	fileRoot string
}

// newFleet starts a Redis; it has no worker yet.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	server, err := embedded.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	rdb := redis.NewClient(server.Options())
	t.Cleanup(func() { _ = rdb.Close() })
	return &fleet{t: t, url: "redis://" + server.Addr() + "/0", rdb: rdb, fileRoot: t.TempDir()}
}

// work adds a worker with all harmless task types and returns once it is ready. Stop drains it; the test's end does so, too.
func (f *fleet) work(concurrency int) (stop func()) {
	f.t.Helper()
	options := *f.rdb.Options()
	rdb := redis.NewClient(&options)
	client, err := jobs.NewClient(rdb, jobs.ClientConfig{})
	if err != nil {
		f.t.Fatal(err)
	}
	w, err := jobs.NewWorker(client, jobs.WorkerConfig{Concurrency: concurrency, Drain: time.Second, Queues: map[string]int{"default": 1, "low": 1}})
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := tasks.Register(w, tasks.Config{FileRoot: f.fileRoot, AllowSim: true, Redis: rdb}); err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	select {
	case <-w.Ready():
	case err := <-ended:
		f.t.Fatalf("the worker did not start: %v", err)
	case <-time.After(20 * time.Second):
		f.t.Fatal("the worker is not ready after 20 s")
	}
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			f.t.Errorf("the worker ended with %v", err)
		}
		_ = client.Close()
		_ = rdb.Close()
	})
	f.t.Cleanup(stop)
	return stop
}

// ran is what a command did.
type ran struct {
	code           int
	stdout, stderr string
}

// lines returns the lines of stdout.
func (r ran) lines() []string {
	if r.stdout == "" {
		return nil
	}
	return strings.Split(strings.TrimSuffix(r.stdout, "\n"), "\n")
}

// run runs a command to its end.
func (f *fleet) run(args ...string) ran {
	f.t.Helper()
	return f.runWith(f.t.Context(), nil, demoParts{}, args...)
}

// feed runs a command with stdin.
func (f *fleet) feed(stdin string, args ...string) ran {
	f.t.Helper()
	return f.runWith(f.t.Context(), strings.NewReader(stdin), demoParts{}, args...)
}

func (f *fleet) runWith(ctx context.Context, stdin io.Reader, parts demoParts, args ...string) ran {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	var mu sync.Mutex
	root := newRootWith(parts)
	root.SetArgs(append(slices.Clip(args), "--redis", f.url))
	if stdin == nil {
		stdin = strings.NewReader("")
	}
	root.SetIn(stdin)
	root.SetOut(locked{&mu, &stdout})
	root.SetErr(locked{&mu, &stderr})
	code := cli.Execute(ctx, root)
	mu.Lock()
	defer mu.Unlock()
	return ran{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// locked is a writer of several goroutines.
type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// want fails the test unless the command exited with code.
func (f *fleet) want(code int, r ran) ran {
	f.t.Helper()
	if r.code != code {
		f.t.Fatalf("exit code %d, want %d\nstdout: %.2000s\nstderr: %.2000s", r.code, code, r.stdout, r.stderr)
	}
	return r
}

// keys returns what is in Redis but for what a namespace keeps for ever.
func (f *fleet) keys() []string {
	f.t.Helper()
	all, err := f.rdb.Keys(context.Background(), "*").Result()
	if err != nil {
		f.t.Fatal(err)
	}
	return all
}

// until waits for ok, which something else brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited 30 s for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// unreachable returns the URL of a Redis that is not there.
func unreachable(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return "redis://" + l.Addr().String() + "/0"
}
