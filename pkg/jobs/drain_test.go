package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// Two workers; the first is stopped in the middle: every member runs exactly once, at its first attempt.
func TestDrainHandsOver(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{})
		step := jobs.Define[int, int]("step")
		var mu sync.Mutex
		runs := make(map[int]int)
		register := func(w *jobs.Worker) {
			jobs.Handle(w, step, func(ctx context.Context, n int) (int, error) {
				mu.Lock()
				runs[n]++
				mu.Unlock()
				time.Sleep(30 * time.Millisecond)
				return jobs.Current(ctx).Attempt, nil
			})
		}
		first := work(t, c, jobs.WorkerConfig{Concurrency: 4}, register)
		ctx := within(t, time.Minute)
		args := make([]int, 300)
		for i := range args {
			args[i] = i
		}
		g, err := jobs.Gather(ctx, c, step.Calls(args...))
		if err != nil {
			t.Fatal(err)
		}
		soon(t, "a third is done", func() bool { mu.Lock(); defer mu.Unlock(); return len(runs) > 100 })
		if err := first.drain(); err != nil {
			t.Error("drain: ", err)
		}
		if n, err := rdb.Exists(ctx, "gq:{gatherq}:workers").Result(); n != 0 || err != nil {
			t.Error("a worker that ended is still listed", err)
		}
		work(t, c, jobs.WorkerConfig{Concurrency: 4}, register)
		begin := time.Now()
		attempts, err := await.All(ctx, g)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range attempts {
			if a != 1 || runs[i] != 1 {
				t.Errorf("member %d ran %d times, at attempt %d", i, runs[i], a)
			}
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("the second worker took %s for the rest", took)
		}
		if s := first.Stats(); s.Fenced != 0 || s.Running != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestDrainGivesBack(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{})
		long := jobs.Define[jobs.None, string]("long")
		var causes atomic.Int64
		first := work(t, c, jobs.WorkerConfig{Concurrency: 4, Drain: 100 * time.Millisecond}, func(w *jobs.Worker) {
			jobs.Handle(w, long, func(ctx context.Context, _ jobs.None) (string, error) {
				<-ctx.Done()
				if errors.Is(context.Cause(ctx), jobs.ErrDraining) {
					causes.Add(1)
				}
				return "half", nil
			})
		})
		ctx := within(t, time.Minute)
		task, err := jobs.CreateTask(ctx, c, long.Call(jobs.None{}))
		if err != nil {
			t.Fatal(err)
		}
		g, err := jobs.Gather(ctx, c, long.Calls(jobs.None{}, jobs.None{}))
		if err != nil {
			t.Fatal(err)
		}
		soon(t, "all run", func() bool { return first.Stats().Running == 3 })
		begin := time.Now()
		if err := first.drain(); err != nil {
			t.Error("drain: ", err)
		}
		if took := time.Since(begin); took > 5*time.Second || causes.Load() != 3 {
			t.Errorf("drained after %s, %d told why", took, causes.Load())
		}
		work(t, c, jobs.WorkerConfig{Concurrency: 4}, func(w *jobs.Worker) {
			jobs.Handle(w, long, func(ctx context.Context, _ jobs.None) (string, error) {
				r := jobs.Current(ctx)
				return fmt.Sprintf("attempt %d, delivery over 1: %v", r.Attempt, r.Delivery > 1), nil
			})
		})
		want := "attempt 1, delivery over 1: true"
		if v, err := await.Result(ctx, task); v != want || err != nil {
			t.Errorf("got %q, %v", v, err)
		}
		if all, err := await.All(ctx, g); err != nil || !slices.Equal(all, []string{want, want}) {
			t.Errorf("got %q, %v", all, err)
		}
	})
}

func TestAbort(t *testing.T) {
	r, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	c := newClient(t, clientOf(t, r.Options()), jobs.ClientConfig{})
	deaf := jobs.Define[jobs.None, int]("deaf")
	released := make(chan struct{})
	first := work(t, c, jobs.WorkerConfig{}, func(w *jobs.Worker) {
		jobs.Handle(w, deaf, func(context.Context, jobs.None) (int, error) { <-released; return 1, nil })
	})
	ctx := within(t, time.Minute)
	task, err := jobs.CreateTask(ctx, c, deaf.Call(jobs.None{}))
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "it runs", func() bool { return first.Stats().Running == 1 })
	first.stop()
	begin := time.Now()
	first.Abort()
	err = <-first.ended
	close(first.ended)
	if took := time.Since(begin); err == nil || took > 3*time.Second {
		t.Errorf("Run = %v after %s", err, took)
	}
	if s := first.Stats(); s.Stuck != 1 {
		t.Errorf("%+v, want one stuck", s)
	}
	work(t, c, jobs.WorkerConfig{}, func(w *jobs.Worker) {
		jobs.Handle(w, deaf, func(context.Context, jobs.None) (int, error) { return 2, nil })
	})
	if v, err := await.Result(ctx, task); v != 2 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
	close(released)
	soon(t, "nothing is stuck", func() bool { return first.Stats().Stuck == 0 })
}

func TestNothingIsLeftAfterRun(t *testing.T) {
	r, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rdb := clientOf(t, r.Options())
	c := newClient(t, rdb, jobs.ClientConfig{})
	cycle := func() {
		w := work(t, c, jobs.WorkerConfig{}, handleDouble)
		ctx := within(t, time.Minute)
		task, err := jobs.CreateTask(ctx, c, double.Call(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := await.Result(ctx, task); err != nil {
			t.Fatal(err)
		}
		if err := w.drain(); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		cycle()
	}
	soon(t, "goroutines end", func() bool { return len(ours()) == 0 })
}

// ours returns the stacks of the goroutines of workers and of asynq.
func ours() (stacks []string) {
	buf := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
		for _, part := range []string{"internal/worker.", "internal/fleet.", "internal/carrier.", "jobs.(*service)", "hibiken/asynq"} {
			if strings.Contains(stack, part) {
				stacks = append(stacks, stack)
				break
			}
		}
	}
	return stacks
}
