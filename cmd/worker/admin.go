package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/jobs"
)

const (
	answerWithin = 10 * time.Second // Redis counts as gone after this long without an answer
	askAfter     = 3 * time.Second  // an answer older than this makes health ask for itself
	askTimeout   = time.Second
)

// health judges the process.
type health struct {
	redis    redis.UniversalClient
	answers  *answers
	worker   workerState
	draining <-chan struct{}
}

// workerState is what the admin server needs of a *jobs.Worker.
type workerState interface {
	Ready() <-chan struct{}
	Stats() jobs.WorkerStats
	Metrics() []jobs.Metric
}

// alive returns nil if the process should live on: Redis has answered within 10 s.
func (h *health) alive(ctx context.Context) error {
	if age, ok := h.answers.since(); !ok || age > askAfter {
		ask, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		_ = h.redis.Ping(ask).Err() // the hook notes an answer
	}
	age, ok := h.answers.since()
	if !ok {
		return errors.New("redis has not answered yet")
	}
	if age > answerWithin {
		return fmt.Errorf("redis has not answered for %v", age.Round(time.Second))
	}
	return nil
}

// ready returns nil if the process takes work.
func (h *health) ready(ctx context.Context) error {
	select {
	case <-h.draining:
		return errors.New("draining")
	default:
	}
	select {
	case <-h.worker.Ready():
	default:
		return errors.New("starting")
	}
	if stats := h.worker.Stats(); stats.Slots > 0 && 2*stats.Stuck >= stats.Slots {
		return fmt.Errorf("%d of %d slots are stuck in handlers that ignore their end", stats.Stuck, stats.Slots)
	}
	return h.alive(ctx)
}

// admin is the HTTP server of /healthz, /readyz and /metrics. A nil admin is off.
type admin struct {
	server   *http.Server
	listener net.Listener
}

// startAdmin serves at addr; "" is off.
func startAdmin(ctx context.Context, addr string, h *health, log *slog.Logger) (*admin, error) {
	if addr == "" {
		return nil, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, cli.Usagef(`--admin %s: the port is in use, perhaps by another worker: choose another one, or --admin "" for none`, addr)
		}
		return nil, cli.Usagef("--admin %s: %w", addr, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", answer(h.alive))
	mux.Handle("GET /readyz", answer(h.ready))
	mux.Handle("GET /metrics", exposition(h.worker))
	a := &admin{
		listener: listener,
		server: &http.Server{
			Handler:           mux,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       5 * time.Second,
			WriteTimeout:      5 * time.Second,
			IdleTimeout:       time.Minute,
			MaxHeaderBytes:    8 << 10,
			ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
	go func() {
		if err := a.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("admin server ended", "error", err)
		}
	}()
	return a, nil
}

// answer serves a check: 200 and "ok", or 503 and the reason.
func answer(check func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if err := check(r.Context()); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}

// address is where the server listens, for logs.
func (a *admin) address() string {
	if a == nil {
		return "off"
	}
	return a.listener.Addr().String()
}

// close ends the server at once: it answers until the process ends.
func (a *admin) close() {
	if a != nil {
		_ = a.server.Close()
	}
}
