package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func TestRetriesAreCountedAndWaitWithoutASlot(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{})
		flaky := jobs.Define[int, int]("flaky", jobs.Retries(2), jobs.Backoff(200*time.Millisecond, time.Second))
		var runs atomic.Int64
		work(t, c, jobs.WorkerConfig{Concurrency: 1}, func(w *jobs.Worker) {
			handleDouble(w)
			jobs.Handle(w, flaky, func(ctx context.Context, succeedAt int) (int, error) {
				runs.Add(1)
				n := jobs.Current(ctx).Attempt
				pause := 50 * time.Millisecond
				if n == 1 && succeedAt == 3 {
					pause = 2 * time.Second
				}
				if n < succeedAt {
					return 0, jobs.RetryAfter(fmt.Errorf("attempt %d: %w", n, errNoImage), pause)
				}
				return n, nil
			})
		})
		ctx := within(t, time.Minute)
		good, err := jobs.CreateTask(ctx, c, flaky.Call(3))
		if err != nil {
			t.Fatal(err)
		}
		soon(t, "the first attempt", func() bool { return runs.Load() > 0 })
		begin := time.Now()
		quick, err := jobs.CreateTask(ctx, c, double.Call(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := await.Result(ctx, quick); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took > 1500*time.Millisecond {
			t.Errorf("another task waited %s for one in its backoff", took)
		}
		if v, err := await.Result(ctx, good); v != 3 || err != nil || runs.Load() != 3 {
			t.Errorf("got %d, %v after %d runs, want success at the third", v, err, runs.Load())
		}
		runs.Store(0)
		bad, err := jobs.CreateTask(ctx, c, flaky.Call(100))
		if err != nil {
			t.Fatal(err)
		}
		_, err = await.Result(ctx, bad)
		e, ok := errors.AsType[*jobs.Error](err)
		if !ok || e.Kind != jobs.ErrFailed || e.Attempt != 3 || !strings.HasPrefix(e.Message, "attempt 3: ") || !errors.Is(err, errNoImage) || runs.Load() != 3 {
			t.Errorf("got %#v after %d runs, want the third attempt's failure with its code", err, runs.Load())
		}
		// The same for a member of a group, which leaves its range for that.
		runs.Store(0)
		g, err := jobs.Gather(ctx, c, []jobs.Call[int]{flaky.Call(1), flaky.Call(2), flaky.Call(100)})
		if err != nil {
			t.Fatal(err)
		}
		outs, err := await.Settled(ctx, g)
		if err != nil || len(outs) != 3 {
			t.Fatal(outs, err)
		}
		for i, want := range []int{1, 2, 3} {
			if outs[i].Attempt != want {
				t.Errorf("member %d ended at attempt %d, want %d", i, outs[i].Attempt, want)
			}
		}
		if !errors.Is(outs[2].Err, errNoImage) || outs[1].Value != 2 || runs.Load() != 6 {
			t.Errorf("%+v after %d runs", outs, runs.Load())
		}
	})
}

func TestHandlersFailuresAtTheAwaiter(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{MaxResult: 100})
		odd := jobs.Define[string, string]("odd", jobs.Retries(0), jobs.Timeout(100*time.Millisecond))
		work(t, c, jobs.WorkerConfig{Concurrency: 4}, func(w *jobs.Worker) {
			jobs.Handle(w, odd, func(ctx context.Context, how string) (string, error) {
				switch how {
				case "panic":
					panic("boom")
				case "goexit":
					runtime.Goexit()
				case "large":
					return strings.Repeat("x", 100), nil
				case "hang":
					<-ctx.Done()
					if !errors.Is(context.Cause(ctx), jobs.ErrTimedOut) {
						return "", fmt.Errorf("cause %w", context.Cause(ctx))
					}
					return "", ctx.Err()
				case "canceled":
					return "", context.Canceled
				case "cancelled":
					return "", fmt.Errorf("let through: %w", jobs.ErrCancelled)
				case "permanent":
					return "", jobs.Permanent(errors.New("never"))
				}
				return "", errors.New(how)
			})
		})
		ctx := within(t, time.Minute)
		for how, want := range map[string]jobs.ErrorKind{
			"panic": jobs.ErrPanicked, "goexit": jobs.ErrGoexit, "large": jobs.ErrResultTooLarge, "hang": jobs.ErrTimedOut,
			"canceled": jobs.ErrFailed, "cancelled": jobs.ErrCancelled, "permanent": jobs.ErrFailed, "no": jobs.ErrFailed,
		} {
			task, err := jobs.CreateTask(ctx, c, odd.Call(how))
			if err != nil {
				t.Fatal(err)
			}
			_, err = await.Result(ctx, task)
			e, ok := errors.AsType[*jobs.Error](err)
			if !ok || e.Kind != want || !e.Started {
				t.Errorf("%s: got %#v, want kind %s", how, err, want)
			}
			if how == "panic" && (e.Message != "boom" || !strings.Contains(e.Stack, "attempt_test.go")) {
				t.Errorf("panic %q at\n%s", e.Message, e.Stack)
			}
		}
		wrong := jobs.Define[[]int, string]("odd", jobs.Retries(5))
		task, err := jobs.CreateTask(ctx, c, wrong.Call([]int{1}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := await.Result(ctx, task); !errors.Is(err, jobs.ErrBadArgs) {
			t.Errorf("arguments of another type: %v, want %v at once", err, jobs.ErrBadArgs)
		}
	})
}

func TestCancelOfRunningWork(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{})
		hang := jobs.Define[jobs.None, int]("hang", jobs.Grace(time.Second))
		var started atomic.Int64
		work(t, c, jobs.WorkerConfig{Concurrency: 8}, func(w *jobs.Worker) {
			jobs.Handle(w, hang, func(ctx context.Context, _ jobs.None) (int, error) {
				started.Add(1)
				<-ctx.Done()
				if e, ok := errors.AsType[*jobs.Error](context.Cause(ctx)); !ok || e.Kind != jobs.ErrCancelled || e.Message != "enough" {
					return 0, fmt.Errorf("cause %w", context.Cause(ctx))
				}
				return 0, ctx.Err()
			})
		})
		ctx := within(t, time.Minute)
		task, err := jobs.CreateTask(ctx, c, hang.Call(jobs.None{}))
		if err != nil {
			t.Fatal(err)
		}
		soon(t, "it runs", func() bool { return started.Load() == 1 })
		if ok, err := jobs.Cancel(ctx, task, "enough"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		begin := time.Now()
		_, err = await.Result(ctx, task)
		if e, ok := errors.AsType[*jobs.Error](err); !ok || e.Kind != jobs.ErrCancelled || e.Message != "enough" {
			t.Errorf("got %#v", err)
		}
		if took := time.Since(begin); took > 500*time.Millisecond {
			t.Errorf("the cancel took %s: its notice was lost", took)
		}
		g, err := jobs.Gather(ctx, c, hang.Calls(make([]jobs.None, 20)...)) // 8 run, 12 wait
		if err != nil {
			t.Fatal(err)
		}
		soon(t, "eight run", func() bool { return started.Load() == 9 })
		if ok, err := jobs.Cancel(ctx, g.Settled(), "enough"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		outs, err := await.Settled(ctx, g)
		for i, o := range outs {
			if o.State != jobs.StateCancelled {
				t.Errorf("member %d ended %s: %v", i, o.State, o.Err)
			}
		}
		if len(outs) != 20 || started.Load() != 9 {
			t.Errorf("%d outcomes, %v; %d started, want no more", len(outs), err, started.Load()-1)
		}
	})
}

func TestDelaysAreExact(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{})
		now := jobs.Define[jobs.None, int64]("now")
		work(t, c, jobs.WorkerConfig{Concurrency: 64}, func(w *jobs.Worker) {
			jobs.Handle(w, now, func(context.Context, jobs.None) (int64, error) { return time.Now().UnixMicro(), nil })
		})
		ctx := within(t, time.Minute)
		var tasks []*jobs.Task[int64]
		var due []time.Time
		for i := range 40 {
			d := 137*time.Millisecond + time.Duration(i)*29*time.Millisecond
			before := time.Now()
			task, err := jobs.CreateTask(ctx, c, now.Call(jobs.None{}, jobs.Delay(d)))
			if err != nil {
				t.Fatal(err)
			}
			tasks, due = append(tasks, task), append(due, before.Add(d))
		}
		var worst time.Duration
		for i, task := range tasks {
			v, err := await.Result(ctx, task)
			if err != nil {
				t.Fatal(err)
			}
			late := time.UnixMicro(v).Sub(due[i])
			if late < -time.Millisecond { // the script's clock counts whole milliseconds
				t.Errorf("task %d started %s early", i, -late)
			}
			worst = max(worst, late)
		}
		if worst > time.Second { // the promise is 50 ms on a machine of one's own; a lost wake-up costs a second and more
			t.Errorf("the latest started %s after its time", worst)
		}
	})
}

func TestUnknownTypesAreHandedBack(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{})
		first := work(t, c, jobs.WorkerConfig{Concurrency: 2, UnknownTypeWait: 2 * time.Second}, func(*jobs.Worker) {})
		ctx := within(t, time.Minute)
		later := jobs.Define[jobs.None, string]("later")
		never := jobs.Define[jobs.None, string]("never")
		task, err := jobs.CreateTask(ctx, c, later.Call(jobs.None{}))
		if err != nil {
			t.Fatal(err)
		}
		lost, err := jobs.CreateTask(ctx, c, never.Call(jobs.None{}))
		if err != nil {
			t.Fatal(err)
		}
		g, err := jobs.Gather(ctx, c, never.Calls(jobs.None{}, jobs.None{}))
		if err != nil {
			t.Fatal(err)
		}
		soon(t, "it was handed back", func() bool {
			return rdb.HExists(ctx, "gq:{gatherq:0}:r:"+task.ID(), "u").Val()
		})
		if err := first.drain(); err != nil {
			t.Error(err)
		}
		work(t, c, jobs.WorkerConfig{Concurrency: 2, UnknownTypeWait: 2 * time.Second}, func(w *jobs.Worker) {
			jobs.Handle(w, later, func(ctx context.Context, _ jobs.None) (string, error) {
				return fmt.Sprint(jobs.Current(ctx).Attempt), nil
			})
		})
		if v, err := await.Result(ctx, task); v != "1" || err != nil {
			t.Errorf("got %q, %v, want the first attempt at the worker that knows it", v, err)
		}
		if _, err := await.Result(ctx, lost); !errors.Is(err, jobs.ErrUnknownType) {
			t.Errorf("got %v, want %v", err, jobs.ErrUnknownType)
		}
		outs, err := await.Settled(ctx, g)
		for _, o := range outs {
			if !errors.Is(o.Err, jobs.ErrUnknownType) {
				t.Errorf("got %v, want %v", o.Err, jobs.ErrUnknownType)
			}
		}
		if len(outs) != 2 || err != nil {
			t.Error(outs, err)
		}
	})
}
