package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/history"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// actorEnv holds the part that a process of this test program plays, as JSON.
const actorEnv = "GATHERQ_TEST_ACTOR"

// part is what an actor is: a worker until SIGTERM, or a producer that plays its plan once.
type part struct {
	Role        string // "worker", "producer"
	URL         string
	Namespace   string
	History     string // file that it writes
	Concurrency int
	Retention   time.Duration // 0: the default
	Gauged      time.Duration // between two gauges; 0: none
	Plan        plan
}

// step is the task type of actors.
var step = jobs.Define[stepArgs, string]("step")

type stepArgs struct {
	Value string
	Sleep time.Duration `json:",omitempty"`
	Hold  bool          `json:",omitempty"`
	Fails int           `json:",omitempty"` // attempts
}

// actorMain plays the part that the environment names.
func actorMain() int {
	var p part
	if err := json.Unmarshal([]byte(os.Getenv(actorEnv)), &p); err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	rec, err := history.Open(p.History)
	if err != nil {
		panic(err)
	}
	if l, err := net.Listen("tcp", "127.0.0.1:0"); err == nil { // the runtime has what it keeps for all connections from here on
		l.Close()
	}
	census := rec.Begin(history.Event{Kind: history.Census, Count: headcount()})
	stopGauge := gauged(p.Gauged, func() { rec.Note(history.Event{Kind: history.Gauge, ID: p.Role, Count: ownSize()}) })
	err = p.play(ctx, rec)
	stopGauge()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	now := headcount()
	for end := time.Now().Add(20 * time.Second); (now["goroutines"] > base["goroutines"] || now["descriptors"] > base["descriptors"]) && time.Now().Before(end); now = headcount() {
		time.Sleep(5 * time.Millisecond)
	}
	census.End(history.OK, history.Event{Count: now})
	return 0
}

// base is what an actor had before it began.
var base map[string]int

// headcount counts goroutines and open files, connections among them.
func headcount() map[string]int {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		panic(err)
	}
	n := map[string]int{"goroutines": runtime.NumGoroutine(), "descriptors": len(files)}
	if base == nil {
		base = n
	}
	return n
}

func (p part) play(ctx context.Context, rec *history.Recorder) error {
	opts, err := redis.ParseURL(p.URL)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	c, err := jobs.NewClient(rdb, jobs.ClientConfig{Namespace: p.Namespace, Retention: p.Retention, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		return err
	}
	defer c.Close()
	if p.Role == "producer" {
		if p.Plan.Every > 0 {
			return p.Plan.rounds(ctx, c, rec)
		}
		return p.Plan.play(ctx, c, rec)
	}
	w, err := stepper(c, rec, p.Concurrency, "default")
	if err != nil {
		return err
	}
	go func() {
		<-w.Ready()
		fmt.Println("ready")
	}()
	if err := w.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// stepper returns a worker for steps, whose runs go into the history.
func stepper(c *jobs.Client, rec *history.Recorder, concurrency int, queue string) (*jobs.Worker, error) {
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Concurrency: concurrency, Queues: map[string]int{queue: 1}, Drain: 100 * time.Millisecond})
	if err != nil {
		return nil, err
	}
	jobs.Handle(w, step, func(ctx context.Context, a stepArgs) (string, error) {
		run := jobs.Current(ctx)
		op := rec.Begin(history.Event{Kind: history.Run, ID: run.ID, Delivery: run.Delivery, Attempt: run.Attempt})
		var forever <-chan time.Time
		over := time.After(a.Sleep)
		if a.Hold && run.Delivery == 1 {
			over = forever
		}
		select {
		case <-over:
		case <-ctx.Done():
			op.End(history.Info, history.Event{Err: context.Cause(ctx).Error()})
			return "", context.Cause(ctx)
		}
		if run.Attempt <= a.Fails {
			op.End(history.Fail, history.Event{Err: "as it was told to"})
			return "", errors.New("as it was told to")
		}
		op.End(history.OK, history.Event{})
		return a.Value, nil
	})
	return w, nil
}

func sight(o jobs.Outcome[string]) history.Outcome {
	h := history.Outcome{ID: o.ID, Index: o.Index, State: string(o.State), Value: o.Value, Attempt: o.Attempt, Delivery: o.Delivery, Worker: o.Worker}
	if o.Err != nil {
		h.Err = kindOf(o.Err)
	}
	return h
}

// kindOf names an error as the history does.
func kindOf(err error) string {
	var e *jobs.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return string(e.Kind)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "context"
	}
	return err.Error()
}

// actor is a started process of this test program.
type actor struct {
	*program
	Ready chan struct{} // closed by a worker that takes work
}

// act starts an actor. It is killed at the end of the test if it still runs.
func act(t *testing.T, p part) *actor {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	a := &actor{&program{name: p.Role, cmd: exec.Command(self), exited: make(chan struct{})}, make(chan struct{})}
	a.cmd.Env = append(os.Environ(), actorEnv+"="+string(b))
	a.cmd.Stdout, a.cmd.Stderr = &a.stdout, &a.stderr
	if err := a.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		a.cmd.Wait()
		close(a.exited)
	}()
	go func() {
		for tick := time.Tick(5 * time.Millisecond); ; {
			select {
			case <-a.exited:
				return
			case <-tick:
			}
			if strings.Contains(a.stdout.String(), "ready") {
				close(a.Ready)
				return
			}
		}
	}()
	t.Cleanup(func() {
		a.cmd.Process.Kill()
		<-a.exited
		if t.Failed() {
			t.Logf("the %s wrote on stderr:\n%s", p.Role, clip(a.stderr.String(), 4000))
		}
	})
	return a
}
