package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// pinged is a Redis of which only PING is used.
type pinged struct {
	redis.UniversalClient
	answers *answers
	err     error
	count   int
}

func (p *pinged) Ping(ctx context.Context) *redis.StatusCmd {
	p.count++
	cmd := redis.NewStatusCmd(ctx, "ping")
	cmd.SetErr(p.err)
	p.answers.note(p.err)
	return cmd
}

// state is a worker as health sees it.
type state struct {
	ready chan struct{}
	stats jobs.WorkerStats
}

func (s *state) Ready() <-chan struct{}  { return s.ready }
func (s *state) Stats() jobs.WorkerStats { return s.stats }
func (s *state) Metrics() []jobs.Metric  { return nil }

func TestHealth(t *testing.T) {
	closed := make(chan struct{})
	close(closed)
	open := make(chan struct{})
	ago := func(d time.Duration) *answers {
		a := &answers{start: time.Now().Add(-time.Hour)}
		a.last.Store(int64(time.Hour - d))
		return a
	}
	never := newAnswers()
	down := errors.New("down")
	tests := []struct {
		name     string
		answers  *answers
		err      error
		draining chan struct{}
		ready    chan struct{}
		stats    jobs.WorkerStats
		alive    string
		takes    string
		pings    int
	}{
		{name: "at work", answers: ago(time.Second), err: down, ready: closed, draining: open, stats: jobs.WorkerStats{Slots: 4, Running: 4, Stuck: 1}},
		{name: "quiet, Redis answers when asked", answers: ago(time.Minute), ready: closed, draining: open, pings: 1},
		{name: "a short stall", answers: ago(8 * time.Second), err: down, ready: closed, draining: open, pings: 2},
		{name: "Redis is gone", answers: ago(11 * time.Second), err: down, ready: closed, draining: open, alive: "not answered for 11s", takes: "not answered", pings: 2},
		{name: "Redis was never there", answers: never, err: down, ready: closed, draining: open, alive: "not answered yet", takes: "not answered yet", pings: 2},
		{name: "starting", answers: ago(0), ready: open, draining: open, takes: "starting"},
		{name: "draining", answers: ago(0), ready: closed, draining: closed, takes: "draining"},
		{name: "half is stuck", answers: ago(0), ready: closed, draining: open, stats: jobs.WorkerStats{Slots: 4, Stuck: 2}, takes: "2 of 4"},
		{name: "less than half is stuck", answers: ago(0), ready: closed, draining: open, stats: jobs.WorkerStats{Slots: 5, Stuck: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rdb := &pinged{answers: tt.answers, err: tt.err}
			h := &health{redis: rdb, answers: tt.answers, worker: &state{tt.ready, tt.stats}, draining: tt.draining}
			for check, want := range map[string]string{"alive": tt.alive, "ready": tt.takes} {
				f := h.alive
				if check == "ready" {
					f = h.ready
				}
				err := f(t.Context())
				if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
					t.Errorf("%s: %v, want %q", check, err, want)
				}
			}
			if rdb.count != tt.pings {
				t.Errorf("%d pings, want %d", rdb.count, tt.pings)
			}
		})
	}
}

func TestAdmin(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	closed := make(chan struct{})
	close(closed)
	draining := make(chan struct{})
	a := newAnswers()
	h := &health{redis: &pinged{answers: a}, answers: a, worker: &state{ready: closed}, draining: draining}
	admin, err := startAdmin(t.Context(), "127.0.0.1:0", h, log)
	if err != nil {
		t.Fatal(err)
	}
	addr := admin.address()
	ask := func(method, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, strings.TrimSpace(string(body))
	}
	check := func(method, path string, status int, body string) {
		t.Helper()
		if s, b := ask(method, path); s != status || body != "" && b != body {
			t.Errorf("%s %s: %d %q, want %d %q", method, path, s, b, status, body)
		}
	}
	check("GET", "/healthz", 200, "ok")
	check("GET", "/readyz", 200, "ok")
	check("POST", "/readyz", 405, "")
	check("GET", "/metrics", 200, "")
	check("GET", "/other", 404, "")
	close(draining)
	check("GET", "/readyz", 503, "draining")
	check("GET", "/healthz", 200, "ok")

	if err := askHealth(t.Context(), addr); err != nil {
		t.Errorf("health: %v", err)
	}
	if _, err := startAdmin(t.Context(), addr, h, log); cli.Code(err) != cli.ExitUsage || !strings.Contains(err.Error(), "--admin "+addr+": the port is in use") {
		t.Errorf("a busy port: %v", err)
	}
	admin.close()
	if err := askHealth(t.Context(), addr); err == nil {
		t.Error("health of nobody is no error")
	}
	if off, err := startAdmin(t.Context(), "", h, log); err != nil || off.address() != "off" {
		t.Errorf("off: %v, %v", off, err)
	} else {
		off.close()
	}
}

// TestAnswersHook: what Redis says counts, also an error; what the connection says does not.
func TestAnswersHook(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{{nil, true}, {redis.Nil, true}, {net.ErrClosed, false}, {context.DeadlineExceeded, false}, {errReply{}, true}} {
		a := newAnswers()
		_ = a.ProcessHook(func(context.Context, redis.Cmder) error { return tt.err })(t.Context(), nil)
		b := newAnswers()
		_ = b.ProcessPipelineHook(func(context.Context, []redis.Cmder) error { return tt.err })(t.Context(), nil)
		for _, x := range []*answers{a, b} {
			if _, ok := x.since(); ok != tt.want {
				t.Errorf("%v: answered %v, want %v", tt.err, ok, tt.want)
			}
		}
	}
}

// errReply is an error that Redis answered with.
type errReply struct{}

func (errReply) Error() string { return "READONLY" }
func (errReply) RedisError()   {}
