package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
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

// onBoth runs a test on the embedded Redis and on a real one.
func onBoth(t *testing.T, test func(t *testing.T, rdb *redis.Client)) {
	t.Run("embedded", func(t *testing.T) {
		r, err := embedded.Start("")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		test(t, clientOf(t, r.Options()))
	})
	t.Run("real", func(t *testing.T) { test(t, clientOf(t, server(t))) })
}

func clientOf(t *testing.T, o *redis.Options) *redis.Client {
	rdb := redis.NewClient(o)
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// server starts a redis-server of the test's own.
func server(t *testing.T) *redis.Options {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if slices.Contains(strings.Split(os.Getenv("GATHERQ_REQUIRE"), ","), "redis") {
			t.Fatal("redis-server is required: ", err)
		}
		t.Skip("no redis-server here: ", err)
	}
	dir, err := os.MkdirTemp("", "gq") // a socket's name must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--dir", dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	o := &redis.Options{Network: "unix", Addr: socket}
	probe := redis.NewClient(&redis.Options{Network: "unix", Addr: socket, MaxRetries: -1})
	defer probe.Close()
	soon(t, "redis-server answers", func() bool { return probe.Ping(t.Context()).Err() == nil })
	return o
}

// soon waits for what others do.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal("not in 20 s: ", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func newClient(t *testing.T, rdb *redis.Client, cfg jobs.ClientConfig) *jobs.Client {
	t.Helper()
	cfg.Logger = slog.New(slog.DiscardHandler)
	c, err := jobs.NewClient(rdb, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// running is a worker whose Run is under way.
type running struct {
	*jobs.Worker
	stop  context.CancelFunc
	ended chan error
}

// work starts a worker with the handlers that register puts in.
func work(t *testing.T, c *jobs.Client, cfg jobs.WorkerConfig, register func(w *jobs.Worker)) *running {
	t.Helper()
	w, err := jobs.NewWorker(c, cfg)
	if err != nil {
		t.Fatal(err)
	}
	register(w)
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Worker: w, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- w.Run(ctx) }()
	select {
	case <-w.Ready():
	case err := <-r.ended:
		t.Fatal("Run: ", err)
	}
	t.Cleanup(func() {
		stop()
		if err, ok := <-r.ended; ok && err != nil {
			t.Error("Run: ", err)
		}
	})
	return r
}

// drain ends a worker and returns what Run returned.
func (r *running) drain() error {
	r.stop()
	err := <-r.ended
	close(r.ended)
	return err
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, stop := context.WithTimeout(t.Context(), d)
	t.Cleanup(stop)
	return ctx
}

var double = jobs.Define[int, int]("double")

func handleDouble(w *jobs.Worker) {
	jobs.Handle(w, double, func(_ context.Context, n int) (int, error) { return 2 * n, nil })
}

func TestRoundTrip(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{})
		work(t, c, jobs.WorkerConfig{Concurrency: 4}, handleDouble)
		ctx := within(t, time.Minute)
		task, err := jobs.CreateTask(ctx, c, double.Call(21))
		if err != nil {
			t.Fatal(err)
		}
		if v, err := await.Result(ctx, task); v != 42 || err != nil {
			t.Fatalf("got %d, %v", v, err)
		}
		for _, n := range []int{0, 1, 2, 63, 64, 65, 3000} {
			args := make([]int, n)
			for i := range args {
				args[i] = i
			}
			g, err := jobs.Gather(ctx, c, double.Calls(args...))
			if err != nil {
				t.Fatal(err)
			}
			all, err := await.All(ctx, g)
			if err != nil || len(all) != n {
				t.Fatalf("gather of %d: %d values, %v", n, len(all), err)
			}
			for i, v := range all {
				if v != 2*i {
					t.Fatalf("gather of %d: value %d is %d", n, i, v)
				}
			}
		}
	})
}

// A worker with one slot works off a group, and a single task does not wait for its end.
func TestOneSlotServesGroupAndTask(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{})
		nap := jobs.Define[int, int]("nap")
		work(t, c, jobs.WorkerConfig{Concurrency: 1}, func(w *jobs.Worker) {
			handleDouble(w)
			jobs.Handle(w, nap, func(ctx context.Context, n int) (int, error) {
				time.Sleep(20 * time.Millisecond)
				return n, nil
			})
		})
		ctx := within(t, time.Minute)
		begin := time.Now()
		g, err := jobs.Gather(ctx, c, nap.Calls(make([]int, 100)...))
		if err != nil {
			t.Fatal(err)
		}
		task, err := jobs.CreateTask(ctx, c, double.Call(1))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := await.Result(ctx, task); err != nil {
			t.Fatal(err)
		}
		alone := time.Since(begin)
		if _, err := await.All(ctx, g); err != nil {
			t.Fatal(err)
		}
		all := time.Since(begin)
		if all > 6*time.Second {
			t.Errorf("100 members of 20 ms took %s in one slot", all)
		}
		if alone > all/2 {
			t.Errorf("the single task waited %s, the group took %s", alone, all)
		}
	})
}

const errNoImage = jobs.ErrorCode("image.missing")

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
			if how == "panic" && (e.Message != "boom" || !strings.Contains(e.Stack, "worker_test.go")) {
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
		if worst > 150*time.Millisecond { // the promise is 50 ms on a machine of one's own
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

func TestMiddleware(t *testing.T) {
	r, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	c := newClient(t, clientOf(t, r.Options()), jobs.ClientConfig{})
	var mu sync.Mutex
	var log []string
	named := func(name string) jobs.Middleware {
		return func(ctx context.Context, next func(context.Context) error) error {
			note := func(s string) { mu.Lock(); log = append(log, name+" "+s); mu.Unlock() }
			note("in " + jobs.Current(ctx).Type)
			err := next(context.WithValue(ctx, errNoImage, name))
			switch {
			case errors.Is(err, jobs.ErrPanicked):
				note("panicked")
			case errors.Is(err, jobs.ErrBadArgs):
				note("bad args")
			default:
				note("out")
			}
			return err
		}
	}
	odd := jobs.Define[string, string]("odd")
	work(t, c, jobs.WorkerConfig{Middleware: []jobs.Middleware{named("a"), named("b")}}, func(w *jobs.Worker) {
		jobs.Handle(w, odd, func(ctx context.Context, how string) (string, error) {
			if how == "panic" {
				panic("boom")
			}
			if jobs.ClientFrom(ctx) != c {
				return "", errors.New("another client")
			}
			return ctx.Value(errNoImage).(string), nil
		}, named("c"))
	})
	ctx := within(t, time.Minute)
	run := func(call jobs.Call[string]) (string, error) {
		mu.Lock()
		log = nil
		mu.Unlock()
		task, err := jobs.CreateTask(ctx, c, call)
		if err != nil {
			t.Fatal(err)
		}
		return await.Result(ctx, task)
	}
	if v, err := run(odd.Call("")); v != "c" || err != nil {
		t.Errorf("got %q, %v", v, err)
	}
	if want := []string{"a in odd", "b in odd", "c in odd", "c out", "b out", "a out"}; !slices.Equal(log, want) {
		t.Errorf("order %q, want %q", log, want)
	}
	if _, err := run(odd.Call("panic")); !errors.Is(err, jobs.ErrPanicked) || log[3] != "c panicked" || log[5] != "a panicked" {
		t.Errorf("got %v, %q", err, log)
	}
	if _, err := run(jobs.Define[int, string]("odd").Call(1)); !errors.Is(err, jobs.ErrBadArgs) || log[3] != "c bad args" {
		t.Errorf("got %v, %q", err, log)
	}
	if jobs.Current(ctx).ID != "" || jobs.ClientFrom(ctx) != nil {
		t.Error("outside a handler there is no run")
	}
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
	cycle()
	before := runtime.NumGoroutine()
	for range 5 {
		cycle()
	}
	soon(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+3 }) // the pool's connections come and go
}

func TestWorkerConfigIsChecked(t *testing.T) {
	r, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := newClient(t, clientOf(t, r.Options()), jobs.ClientConfig{})
	for field, cfg := range map[string]jobs.WorkerConfig{
		"concurrency":       {Concurrency: -1},
		"queue":             {Queues: map[string]int{"a}:t:x": 1}},
		"queues":            {Queues: map[string]int{"a": 0}},
		"drain":             {Drain: -1},
		"unknown-type-wait": {UnknownTypeWait: -1},
		"middleware":        {Middleware: []jobs.Middleware{nil}},
		"asynq":             {Asynq: jobs.AsynqTasks{Concurrency: 3}},
	} {
		_, err := jobs.NewWorker(c, cfg)
		if e, ok := errors.AsType[*jobs.RejectedError](err); !ok || e.Field != field {
			t.Errorf("%s: got %v", field, err)
		}
	}
	if _, err := jobs.NewWorker(nil, jobs.WorkerConfig{}); !errors.Is(err, jobs.ErrRejected) {
		t.Errorf("no client: %v", err)
	}
}

func TestWhatHandleFindsIsRunsError(t *testing.T) {
	r, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := newClient(t, clientOf(t, r.Options()), jobs.ClientConfig{})
	fn := func(_ context.Context, n int) (int, error) { return n, nil }
	for name, register := range map[string]func(w *jobs.Worker){
		"bad name":   func(w *jobs.Worker) { jobs.Handle(w, jobs.Define[int, int]("No!"), fn) },
		"bad option": func(w *jobs.Worker) { jobs.Handle(w, jobs.Define[int, int]("a", jobs.Retries(-1)), fn) },
		"twice":      func(w *jobs.Worker) { jobs.Handle(w, double, fn); jobs.Handle(w, double, fn) },
		"nil":        func(w *jobs.Worker) { jobs.Handle(w, double, nil) },
		"nil around": func(w *jobs.Worker) { jobs.Handle(w, double, fn, nil) },
		"zero":       func(w *jobs.Worker) { jobs.Handle(w, jobs.Definition[int, int]{}, fn) },
	} {
		w, err := jobs.NewWorker(c, jobs.WorkerConfig{})
		if err != nil {
			t.Fatal(err)
		}
		register(w)
		if err := w.Run(t.Context()); !errors.Is(err, jobs.ErrRejected) {
			t.Errorf("%s: Run = %v", name, err)
		}
		if err := w.Run(t.Context()); !errors.Is(err, jobs.ErrRejected) {
			t.Errorf("%s: a second Run = %v", name, err)
		}
	}
	var none *jobs.Worker
	jobs.Handle(none, double, fn)
	if err := none.Run(t.Context()); !errors.Is(err, jobs.ErrRejected) {
		t.Errorf("nil: Run = %v", err)
	}
}

func TestRunSaysThatRedisIsAway(t *testing.T) {
	c := newClient(t, clientOf(t, &redis.Options{Addr: "127.0.0.1:1"}), jobs.ClientConfig{})
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	handleDouble(w)
	begin := time.Now()
	if err := w.Run(within(t, 300*time.Millisecond)); !errors.Is(err, jobs.ErrUnavailable) {
		t.Errorf("Run = %v", err)
	}
	if took := time.Since(begin); took > 500*time.Millisecond {
		t.Errorf("Run returned after %s, its context ended after 300 ms", took)
	}
}
