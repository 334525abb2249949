package jobs_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
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
		t.Logf("the single task waited %s, the group took %s", alone, all)
		if alone > all*3/4 {
			t.Errorf("the single task waited %s, the group took %s", alone, all)
		}
	})
}

const errNoImage = jobs.ErrorCode("image.missing")

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

func TestDecision43_PlainAsynqTasksBesideOurs(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{})
		mux := asynq.NewServeMux()
		payloads := make(chan string, 1)
		mux.HandleFunc("mail", func(_ context.Context, t *asynq.Task) error {
			payloads <- string(t.Payload())
			return nil
		})
		work(t, c, jobs.WorkerConfig{Asynq: jobs.AsynqTasks{Handler: mux}}, handleDouble)
		ctx := within(t, time.Minute)
		task, err := jobs.CreateTask(ctx, c, double.Call(21))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := asynq.NewClientFromRedisClient(rdb).EnqueueContext(ctx, asynq.NewTask("mail", []byte("hello"))); err != nil {
			t.Fatal(err)
		}
		if v, err := await.Result(ctx, task); v != 42 || err != nil {
			t.Errorf("got %d, %v", v, err)
		}
		select {
		case got := <-payloads:
			if got != "hello" {
				t.Errorf("got %q", got)
			}
		case <-ctx.Done():
			t.Error("the plain task did not run")
		}
	})
}
