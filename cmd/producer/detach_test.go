package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/cli"
)

// The end of the waiting is no end of the work, and the last line says how to come back.
func TestInterruptDetaches(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(8)
	for _, args := range [][]string{
		{"create", "sim", simLong, "--await", "--id", "one"},
		{"gather", "sim", "--await", "--id", "many"},
		{"gather", "sim", "--await", "--id", "each", "--as-completed"},
		{"await", "one"},
		{"status", "one", "--watch"},
	} {
		ctx, interrupt := context.WithCancelCause(t.Context())
		done := make(chan ran, 1)
		go func() { done <- f.runWith(ctx, strings.NewReader(simLong+"\n"+simOne), demoParts{}, args...) }()
		id := "one"
		if i := slices.Index(args, "--id"); i > 0 {
			id = args[i+1]
		}
		until(t, id+" to run", func() bool {
			out := f.run("status", id, "--json").stdout
			return strings.Contains(out, `"running"`)
		})
		start := time.Now()
		interrupt(cli.ErrInterrupted)
		r := f.want(130, <-done)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("%q: ended %v after the interrupt", args, took)
		}
		lines := strings.Split(strings.TrimSpace(r.stderr), "\n")
		last := lines[len(lines)-1]
		other := "producer cancel " + id
		if strings.Contains(last, "may or may not be stored") { // it runs before the answer to its creation is read
			other = "producer status " + id
		}
		if !strings.Contains(last, "producer await "+id+" --redis "+f.url) || !strings.Contains(last, other+" --redis "+f.url) {
			t.Errorf("%q: the last line on stderr is %q", args, last)
		}
	}
	f.want(0, f.run("cancel", "one", "many", "each", "--wait"))
}

func TestAwaitTimeout(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for _, args := range [][]string{
		{"create", "echo", "1", "--await", "--id", "one"},
		{"await", "one"},
		{"gather", "echo", "--await", "--id", "many"},
		{"await", "many", "--return-errors"},
		{"await", "many", "--as-completed"},
	} {
		r := f.want(124, f.feed("1\n2\n", append(args, "--await-timeout", "100ms")...))
		if !strings.Contains(r.stderr, "timed out after 100ms") || !strings.Contains(r.stderr, "goes on") || r.stdout != "" {
			t.Errorf("%q: stdout %q, stderr %q", args, r.stdout, r.stderr)
		}
	}
	f.work(2)
	if r := f.want(0, f.run("await", "one", "many", "--await-timeout", "1m")); r.stdout != "1\n1\n2\n" {
		t.Errorf("later: %q", r.stdout)
	}
}

func TestInterruptedBeforeTheEndOfInput(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	ctx, interrupt := context.WithCancelCause(t.Context())
	typing := &typist{ctx: t.Context(), typed: make(chan struct{})}
	go func() {
		<-typing.typed
		interrupt(cli.ErrInterrupted)
	}()
	r := f.want(130, f.runWith(ctx, typing, demoParts{}, "gather", "echo", "--id", "never"))
	if r.stdout != "" || !strings.Contains(r.stderr, "nothing was enqueued") {
		t.Errorf("stdout %q, stderr %q", r.stdout, r.stderr)
	}
	f.want(4, f.run("status", "never"))
}

// typist types one line and then thinks.
type typist struct {
	ctx   context.Context //nolint:containedctx // as long as the test
	typed chan struct{}
	once  bool
}

func (y *typist) Read(p []byte) (int, error) {
	if !y.once {
		y.once = true
		return copy(p, "1\n"), nil
	}
	close(y.typed)
	<-y.ctx.Done()
	return 0, errors.New("the test is over")
}
