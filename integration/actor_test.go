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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/history"
	"github.com/gatherq/gatherq/pkg/await"
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

// plan is some work with fixed IDs, so that whoever plays it a second time meets what was there.
type plan struct {
	Prefix  string // of all IDs
	Singles int    // tasks: every third fails once, every fourth has a delay
	Members int    // of one group, of which the first is a task with an ID of its own; 0: no group
	Sleep   time.Duration
	Hold    bool          // the first delivery of everything runs until its context ends
	Limit   time.Duration // of each await
	Every   time.Duration // the plan is played again and again, each time with IDs of its own; 0: once
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

// single is the i-th task of the plan.
func (p plan) single(i int) (id string, call jobs.Call[string], attempts int) {
	id, attempts = fmt.Sprintf("%ss%d", p.Prefix, i), 1
	a := stepArgs{Value: id, Sleep: p.Sleep, Hold: p.Hold}
	opts := []jobs.CallOption{jobs.ID(id)}
	if i%3 == 2 {
		a.Fails, attempts = 1, 2
		opts = append(opts, jobs.Retries(2), jobs.Backoff(10*time.Millisecond, 50*time.Millisecond))
	}
	if i%4 == 3 {
		opts = append(opts, jobs.Delay(200*time.Millisecond))
	}
	return id, step.Call(a, opts...), attempts
}

// group is the plan's group.
func (p plan) group() (id string, calls []jobs.Call[string], want []string) {
	id = p.Prefix + "g"
	for i := range p.Members {
		value := fmt.Sprintf("%s.%d", id, i)
		var opts []jobs.CallOption
		if i == 0 {
			opts = append(opts, jobs.ID(p.own()))
		}
		calls, want = append(calls, step.Call(stepArgs{Value: value, Sleep: p.Sleep, Hold: p.Hold}, opts...)), append(want, value)
	}
	return id, calls, want
}

// own is the ID of the group's first member, which is a task by itself.
func (p plan) own() string { return p.Prefix + "own" }

// ids are all IDs that can be awaited, with the attempts that each task needs, 0 for the group.
func (p plan) ids() map[string]int {
	all := map[string]int{}
	for i := range p.Singles {
		id, _, attempts := p.single(i)
		all[id] = attempts
	}
	if p.Members > 0 {
		all[p.Prefix+"g"], all[p.own()] = 0, 1
	}
	return all
}

// play creates everything and awaits it. A creation of which nobody knows whether it happened is done again; any other error ends it.
func (p plan) play(ctx context.Context, c *jobs.Client, rec *history.Recorder) error {
	if err := p.create(ctx, c, rec); err != nil {
		return err
	}
	var all sync.WaitGroup
	errs := make(chan error, p.Singles+2)
	for id, attempts := range p.ids() {
		all.Go(func() { errs <- p.await(ctx, c, rec, id, attempts == 0) })
	}
	all.Wait()
	close(errs)
	var failed error
	for err := range errs {
		failed = errors.Join(failed, err)
	}
	return failed
}

// rounds plays the plan at fixed intervals, whether or not the rounds before have ended, until ctx ends, and then ends what it began. An
// await that ends as unavailable is tried again here, and if it stays so is no failure: the history has it.
func (p plan) rounds(ctx context.Context, c *jobs.Client, rec *history.Recorder) error {
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	tick := time.NewTicker(p.Every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			all.Wait()
			return failed
		case <-tick.C:
		}
		round := p
		round.Prefix = fmt.Sprintf("%s%d.", p.Prefix, n)
		all.Go(func() {
			if err := round.play(context.WithoutCancel(ctx), c, rec); err != nil && !errors.Is(err, jobs.ErrUnavailable) {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
			}
		})
	}
}

func (p plan) create(ctx context.Context, c *jobs.Client, rec *history.Recorder) error {
	for i := range p.Singles {
		id, call, _ := p.single(i)
		if err := acknowledged(rec, history.Event{Kind: history.Create, ID: id, Want: []string{id}}, func() error {
			_, err := jobs.CreateTask(ctx, c, call)
			return err
		}); err != nil {
			return err
		}
	}
	if p.Members == 0 {
		return nil
	}
	id, calls, want := p.group()
	return acknowledged(rec, history.Event{Kind: history.Gather, ID: id, Want: want, Own: map[string]string{p.own(): want[0]}}, func() error {
		_, err := jobs.Gather(ctx, c, calls, jobs.ID(id))
		return err
	})
}

// acknowledged does a creation until it is known whether it happened; while Redis is away, it tries again.
func acknowledged(rec *history.Recorder, e history.Event, do func() error) error {
	for {
		op := rec.Begin(e)
		err := do()
		switch kind := kindOf(err); {
		case err == nil:
			op.End(history.OK, history.Event{})
			return nil
		case kind == string(jobs.ErrIndeterminate):
			op.End(history.Info, history.Event{Err: kind})
		case kind == string(jobs.ErrUnavailable):
			op.End(history.Fail, history.Event{Err: kind})
		default:
			op.End(history.Fail, history.Event{Err: kind})
			return fmt.Errorf("%s %s: %w", e.Kind, e.ID, err)
		}
	}
}

// await awaits one ID of the plan.
func (p plan) await(ctx context.Context, c *jobs.Client, rec *history.Recorder, id string, group bool) error {
	once := func() error {
		ctx, cancel := context.WithTimeout(ctx, p.Limit)
		defer cancel()
		op := rec.Begin(history.Event{Kind: history.Await, ID: id, Limit: int64(p.Limit)})
		end, err := p.seen(ctx, c, id, group)
		if err != nil {
			op.End(history.Fail, history.Event{Err: kindOf(err)})
			return fmt.Errorf("await %s: %w", id, err)
		}
		op.End(history.OK, end)
		return nil
	}
	err := once()
	for again := 0; again < 3 && p.Every > 0 && errors.Is(err, jobs.ErrUnavailable); again++ {
		err = once()
	}
	return err
}

// seen waits for the end of an ID, and returns it as the history wants it.
func (p plan) seen(ctx context.Context, c *jobs.Client, id string, group bool) (history.Event, error) {
	if !group {
		out, err := await.Outcome(ctx, jobs.TaskByID[string](c, id))
		if err != nil {
			return history.Event{}, err
		}
		o := sight(out)
		return history.Event{Outcome: &o}, nil
	}
	outs, err := await.Settled(ctx, jobs.GroupByID[string](c, id))
	if err != nil {
		return history.Event{}, err
	}
	e := history.Event{Members: make([]history.Outcome, 0, len(outs))}
	for _, out := range outs {
		h := sight(out)
		if out.Index == 0 {
			h.ID = "" // its own record says how often it was delivered
		}
		e.Members = append(e.Members, h)
	}
	return e, nil
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
