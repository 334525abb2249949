package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/internal/tasks"
	"github.com/gatherq/gatherq/pkg/jobs"
)

const (
	// slots of each worker: a scenario has up to 6 tasks at once, and there are several scenarios.
	slots = 64

	// readyWithin is how long a worker may take until it takes tasks.
	readyWithin = 30 * time.Second

	// drainWithin is how long a worker may take to end before it is killed.
	drainWithin = 40 * time.Second
)

// fleet is what the runner has started around itself: nothing, worker processes, or a Redis with workers in this process.
type fleet struct {
	url  string
	ends []func() // run last to first
}

func (f *fleet) end() {
	for i := len(f.ends) - 1; i >= 0; i-- {
		f.ends[i]()
	}
	f.ends = nil
}

func startFleet(ctx context.Context, cfg config, stderr io.Writer) (_ *fleet, err error) {
	f := &fleet{url: cfg.redis}
	defer func() {
		if err != nil {
			f.end()
		}
	}()
	if cfg.redis == "embedded" {
		return f, f.embed(ctx, cfg)
	}
	if cfg.workers == 0 {
		return f, nil
	}
	return f, f.processes(ctx, cfg, stderr)
}

// embed starts a Redis in this process and at least one worker.
func (f *fleet) embed(ctx context.Context, cfg config) error {
	srv, err := embedded.Start("127.0.0.1:0")
	if err != nil {
		return err
	}
	f.ends = append(f.ends, srv.Close)
	f.url = "redis://" + srv.Addr() + "/0"
	for range max(cfg.workers, 1) {
		if err := f.embedWorker(ctx, cfg); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) embedWorker(ctx context.Context, cfg config) error {
	c, rdb, closeClient, err := connect(f.url, cfg.namespace)
	if err != nil {
		return err
	}
	f.ends = append(f.ends, closeClient)
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Concurrency: slots})
	if err != nil {
		return err
	}
	if _, err := tasks.Register(w, tasks.Config{AllowSim: true, Redis: rdb}); err != nil {
		return err
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(working) }()
	select {
	case <-w.Ready():
		f.ends = append(f.ends, func() {
			stop()
			w.Abort()
			<-ended
		})
		return nil
	case err := <-ended:
		stop()
		return fmt.Errorf("the worker ended: %w", err)
	}
}

// processes builds cmd/worker and starts it, as often as -workers says.
func (f *fleet) processes(ctx context.Context, cfg config, stderr io.Writer) error {
	dir, err := os.MkdirTemp("", "gatherq-oracle-")
	if err != nil {
		return err
	}
	f.ends = append(f.ends, func() { os.RemoveAll(dir) })
	binary := filepath.Join(dir, "worker")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "github.com/gatherq/gatherq/cmd/worker")
	build.Stderr = stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("go build of cmd/worker: %w", err)
	}
	for range cfg.workers {
		if err := f.process(ctx, cfg, binary, stderr); err != nil {
			return err
		}
	}
	return nil
}

func (f *fleet) process(ctx context.Context, cfg config, binary string, stderr io.Writer) error {
	admin, err := freeAddress()
	if err != nil {
		return err
	}
	cmd := exec.Command(binary, "--allow-sim", "--namespace", cfg.namespace,
		"--concurrency", strconv.Itoa(slots), "--log-level", "warn", "--admin", admin)
	cmd.Env = append(os.Environ(), "GATHERQ_REDIS_URL="+f.url) // not an argument: it may hold a password
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	f.ends = append(f.ends, func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(drainWithin):
			cmd.Process.Kill()
			<-exited
		}
	})
	return ready(ctx, admin, exited)
}

// ready waits until a worker takes tasks.
func ready(ctx context.Context, admin string, exited <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/readyz", nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-exited:
			return fmt.Errorf("the worker ended before it was ready")
		default:
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("the worker is not ready: %w", err)
		}
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// quiet is the logger of clients: what matters comes back as an error.
var quiet = slog.New(slog.DiscardHandler)
