package await_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// bystander is a client of its own connections, named so that Redis can tell them from all others.
func bystander(t *testing.T, opts *redis.Options, cfg jobs.ClientConfig) (*redis.Client, *jobs.Client) {
	t.Helper()
	own := *opts
	own.ClientName = "bystander"
	rdb := redis.NewClient(&own)
	t.Cleanup(func() { _ = rdb.Close() })
	c := must[*jobs.Client](t)(jobs.NewClient(rdb, cfg))
	t.Cleanup(func() { _ = c.Close() })
	return rdb, c
}

// addresses returns the ends of the bystander's connections.
func addresses(t *testing.T, rdb *redis.Client) (addrs []string) {
	t.Helper()
	for _, l := range strings.Split(must[string](t)(rdb.ClientList(context.Background()).Result()), "\n") {
		if strings.Contains(l, " name=bystander ") {
			_, addr, _ := strings.Cut(l, " addr=")
			addr, _, _ = strings.Cut(addr, " ")
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// monitored counts the commands that come from the addresses in a time.
func monitored(t *testing.T, opts *redis.Options, addrs []string, d time.Duration) (n int) {
	t.Helper()
	conn := must[net.Conn](t)(net.Dial("tcp", opts.Addr))
	defer conn.Close()
	if _, err := conn.Write([]byte("MONITOR\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(d))
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 16<<20) // a script with 500 IDs is one line
	for lines.Scan() {
		for _, addr := range addrs {
			if strings.Contains(lines.Text(), " "+addr+"]") {
				n++
			}
		}
	}
	return n
}

// TestThousandAwaitsAreCheap: at most 3 connections and 20 commands in 10 s, and none when nobody awaits.
func TestThousandAwaitsAreCheap(t *testing.T) {
	_, opts := realRedis(t)
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	creator := must[*jobs.Client](t)(jobs.NewClient(rdb, jobs.ClientConfig{}))
	defer creator.Close()
	calls := make([]jobs.Call[string], 1000)
	for i := range calls {
		calls[i] = word.Call("x", jobs.Queue("nobody"))
	}
	tasks := must[[]*jobs.Task[string]](t)(jobs.CreateTasks(t.Context(), creator, calls))
	_, c := bystander(t, opts, jobs.ClientConfig{})
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for _, task := range tasks {
		all.Go(func() { _, _ = await.Result(ctx, jobs.TaskByID[string](c, task.ID())) })
	}
	within(t, 10*time.Second, "the awaits", func() bool { return c.Stats().AwaitsOpen == len(tasks) })
	// An await that comes behind them has been to Redis when it ends.
	_ = second(await.Result(ctx, jobs.TaskByID[int](c, "nobody")))
	addrs := addresses(t, rdb)
	if len(addrs) > 3 {
		t.Errorf("%d connections", len(addrs))
	}
	n := monitored(t, opts, addrs, 5*time.Second)
	t.Logf("%d connections, %d commands in 5 s", len(addrs), n)
	if n > 10 || n == 0 {
		t.Errorf("%d commands in 5 s", n)
	}
	cancel()
	all.Wait()
	if n := monitored(t, opts, addrs, 3*time.Second); n > 0 {
		t.Errorf("idle: %d commands in 3 s", n)
	}
}

// TestTenThousandAwaitsAreCheap: at most two connections more, 120 commands in 10 s, and 4 KiB of memory each.
func TestTenThousandAwaitsAreCheap(t *testing.T) {
	_, opts := realRedis(t)
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	creator := must[*jobs.Client](t)(jobs.NewClient(rdb, jobs.ClientConfig{}))
	defer creator.Close()
	const n = 10_000
	calls := make([]jobs.Call[string], n)
	for i := range calls {
		calls[i] = word.Call("x", jobs.Queue("nobody"))
	}
	tasks := must[[]*jobs.Task[string]](t)(jobs.CreateTasks(t.Context(), creator, calls))
	_, c := bystander(t, opts, jobs.ClientConfig{})
	for i, task := range tasks {
		tasks[i] = jobs.TaskByID[string](c, task.ID())
	}
	_ = second(jobs.Peek(t.Context(), tasks[0])) // the connection that the client has in any case
	connections := len(addresses(t, rdb))
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	heap, stacks := memory()
	smallStacks()
	for _, task := range tasks {
		all.Go(func() { _, _ = await.Result(ctx, task) })
	}
	within(t, time.Minute, "the awaits", func() bool { return c.Stats().AwaitsOpen == n })
	_ = second(await.Result(ctx, jobs.TaskByID[int](c, "nobody"))) // behind them, so they are registered
	addrs := addresses(t, rdb)
	commands := monitored(t, opts, addrs, 5*time.Second)
	heap2, stacks2 := memory()
	heap, stacks = (heap2-heap)/n, (stacks2-stacks)/n
	t.Logf("%d connections more, %d commands in 5 s, %d bytes of heap and %d of stacks each", len(addrs)-connections, commands, heap, stacks)
	if len(addrs)-connections > 2 {
		t.Errorf("%d connections, %d before", len(addrs), connections)
	}
	if commands > 60 || commands == 0 {
		t.Errorf("%d commands in 5 s", commands)
	}
	switch {
	case raceDetector():
		t.Log("memory is not judged: the race detector has its own")
	case heap > 1536:
		t.Errorf("%d bytes of heap each", heap)
	case heap+stacks > 4<<10:
		t.Errorf("%d bytes each, stacks included", heap+stacks)
	}
	cancel()
	all.Wait()
}

// memory returns what is used of the heap, and the stacks.
func memory() (heap, stacks int) {
	runtime.GC()
	runtime.GC() // what the first one only found
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc), int(m.StackInuse)
}

// smallStacks makes the runtime begin goroutines with the smallest stack: it goes by the average that the last collection found.
func smallStacks() {
	var all sync.WaitGroup
	end := make(chan struct{})
	for range 1000 {
		all.Go(func() { <-end })
	}
	runtime.GC()
	close(end)
	all.Wait()
}

func raceDetector() bool {
	info, _ := debug.ReadBuildInfo()
	return info != nil && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
}

// TestDecision40_HungRedis: a Redis that accepts and never answers keeps nobody beyond the context.
func TestDecision40_HungRedis(t *testing.T) {
	process, opts := realRedis(t)
	f := newFleet(t, opts)
	task, g := f.gatedTask("a"), f.gather("b", "c")
	_, c := bystander(t, opts, jobs.ClientConfig{Patience: 3 * time.Second})
	theirs, group := jobs.TaskByID[int](c, task.ID()), jobs.GroupByID[int](c, g.ID())
	fresh := func() *jobs.Group[int] {
		_, c := bystander(t, opts, jobs.ClientConfig{})
		return jobs.GroupByID[int](c, g.ID())
	}
	must[jobs.Outcome[int]](t)(jobs.Peek(t.Context(), theirs))
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = process.Signal(syscall.SIGCONT) }()
	for name, call := range map[string]func(ctx context.Context) error{
		"Result":              func(ctx context.Context) error { return second(await.Result(ctx, theirs)) },
		"Outcome":             func(ctx context.Context) error { return second(await.Outcome(ctx, theirs)) },
		"All":                 func(ctx context.Context) error { return second(await.All(ctx, group)) },
		"All, loose":          func(ctx context.Context) error { return second(await.All(ctx, await.Of(theirs))) },
		"Settled":             func(ctx context.Context) error { return second(await.Settled(ctx, group)) },
		"Settled, loose":      func(ctx context.Context) error { return second(await.Settled(ctx, await.Of(theirs))) },
		"AsCompleted":         func(ctx context.Context) error { return last(await.AsCompleted(ctx, group)) },
		"AsCompleted, loose":  func(ctx context.Context) error { return last(await.AsCompleted(ctx, await.Of(theirs))) },
		"InOrder":             func(ctx context.Context) error { return last(await.InOrder(ctx, group, await.After(0))) },
		"All, new client":     func(ctx context.Context) error { return second(await.All(ctx, fresh())) },
		"InOrder, new client": func(ctx context.Context) error { return last(await.InOrder(ctx, fresh())) },
	} {
		best := time.Hour // of three: the machine may be busy
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			begin := time.Now()
			err := call(ctx)
			if best = min(best, time.Since(begin)); !errors.Is(err, await.ErrGaveUp) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
		}
		if best > 250*time.Millisecond {
			t.Errorf("%s: %v", name, best)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if _, err := jobs.Peek(ctx, theirs); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) > 300*time.Millisecond {
		t.Errorf("Peek: %v after %v", err, time.Since(begin))
	}
	begin = time.Now()
	_, err := await.Result(t.Context(), theirs)
	if d := time.Since(begin); !errors.Is(err, jobs.ErrUnavailable) || d > 6*time.Second {
		t.Errorf("patience of 3 s: %v after %v", err, d)
	}
	e, _ := errors.AsType[*jobs.Error](err)
	if e == nil || e.ID != task.ID() {
		t.Errorf("%v does not name the task", err)
	}
	if err := process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	f.open("a", 5)
	if got, err := await.Result(t.Context(), theirs); err != nil || got != 5 {
		t.Errorf("afterwards: %d, %v", got, err)
	}
}

func TestDecision16_Unavailable(t *testing.T) {
	process, opts := realRedis(t)
	_, c := bystander(t, opts, jobs.ClientConfig{Patience: time.Second})
	_, _ = jobs.Peek(t.Context(), jobs.TaskByID[int](c, "a"))
	_ = process.Kill()
	for name, call := range map[string]func() error{
		"Result": func() error { return second(await.Result(t.Context(), jobs.TaskByID[int](c, "a"))) },
		"All":    func() error { return second(await.All(t.Context(), jobs.GroupByID[int](c, "a"))) },
		"Order":  func() error { return last(await.InOrder(t.Context(), jobs.GroupByID[int](c, "a"))) },
	} {
		begin := time.Now()
		err := call()
		if d := time.Since(begin); !errors.Is(err, jobs.ErrUnavailable) || d < 900*time.Millisecond || d > 4*time.Second {
			t.Errorf("%s: %v after %v", name, err, d)
		}
	}
}

// TestConnectionsKilled: who waits hears of what ended while the subscription was down.
func TestConnectionsKilled(t *testing.T) {
	_, opts := realRedis(t)
	f := newFleet(t, opts)
	_, c := bystander(t, opts, jobs.ClientConfig{})
	for round := range 5 {
		name := fmt.Sprint("a", round)
		task := f.gatedTask(name)
		ended := make(chan error, 1)
		go func() { ended <- second(await.Result(t.Context(), jobs.TaskByID[int](c, task.ID()))) }()
		within(t, 5*time.Second, "the await", func() bool { return c.Stats().AwaitsOpen == 1 })
		for _, addr := range addresses(t, f.rdb) {
			_ = f.rdb.ClientKill(t.Context(), addr).Err()
		}
		f.open(name, 1)
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("it hangs")
		}
	}
}

func TestLost(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		c := f.client(jobs.ClientConfig{})
		// A queue that nobody serves: the worker would bring the record back into its own state.
		task := must[*jobs.Task[string]](t)(jobs.CreateTask(t.Context(), c, word.Call("x", jobs.Queue("nobody"))))
		g := must[*jobs.Group[string]](t)(jobs.Gather(t.Context(), c, []jobs.Call[string]{word.Call("x", jobs.Queue("nobody"))}, jobs.Queue("nobody")))
		errs := make(chan error, 3)
		go func() { errs <- second(await.Result(t.Context(), task)) }()
		go func() { errs <- second(await.All(t.Context(), g)) }()
		go func() { errs <- last(await.AsCompleted(t.Context(), g)) }()
		within(t, 5*time.Second, "the awaits", func() bool { return c.Stats().AwaitsOpen == 3 })
		// What Stats counts may still be on its way to Redis: one more round trip of the same inbox is behind it.
		_ = second(await.Result(t.Context(), jobs.TaskByID[int](c, "nobody")))
		if err := f.rdb.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		for range 3 {
			if err := <-errs; !errors.Is(err, jobs.ErrLost) {
				t.Error(err)
			}
		}
		if d := time.Since(begin); d > 4*time.Second {
			t.Errorf("after %v", d)
		}
	})
}

// TestNothingIsLeftAfterClose: 200 clients come and go with awaits in flight.
func TestNothingIsLeftAfterClose(t *testing.T) {
	_, opts := realRedis(t)
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	creator := must[*jobs.Client](t)(jobs.NewClient(rdb, jobs.ClientConfig{}))
	defer creator.Close()
	task := must[*jobs.Task[string]](t)(jobs.CreateTask(t.Context(), creator, word.Call("x", jobs.Queue("nobody"))))
	own := *opts
	own.ClientName = "bystander"
	shared := redis.NewClient(&own)
	defer shared.Close()
	round := func() {
		c := must[*jobs.Client](t)(jobs.NewClient(shared, jobs.ClientConfig{}))
		var closed atomic.Int32
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if _, err := await.Result(t.Context(), jobs.TaskByID[string](c, task.ID())); errors.Is(err, jobs.ErrClosed) {
					closed.Add(1)
				}
			})
		}
		within(t, 5*time.Second, "the awaits", func() bool { return c.Stats().AwaitsOpen > 0 })
		_ = c.Close()
		all.Wait()
		if closed.Load() != 5 {
			t.Errorf("%d of 5 awaits ended as closed", closed.Load())
		}
	}
	round()
	before := runtime.NumGoroutine()
	for range 200 {
		round()
	}
	within(t, 10*time.Second, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before+2 })
	within(t, 10*time.Second, "the end of all subscriptions", func() bool {
		return !strings.Contains(must[string](t)(rdb.ClientList(t.Context()).Result()), "sub=1")
	})
	if n := len(addresses(t, rdb)); n > 10*runtime.GOMAXPROCS(0) {
		t.Errorf("%d connections", n)
	}
}
