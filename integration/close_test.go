package integration

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// isKind reports whether an error is of a kind, by its type and not only by its text.
func isKind(err error, kind jobs.ErrorKind) bool {
	e, ok := errors.AsType[*jobs.Error](err)
	return ok && e.Kind == kind && errors.Is(err, kind)
}

// Nothing of a client is left after Close: no goroutine, no connection. It counts the goroutines of the process, so no other
// test runs beside it.
func TestCloseLeavesNothing(t *testing.T) {
	const rounds, awaits = 200, 5
	s := redistest.Any(t)
	opts, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	opts.ClientName = "rounds"
	kept := redis.NewClient(opts) // of every other round: the caller's, which the client must not close
	defer kept.Close()

	round := func(i int) {
		rdb := kept
		if i%2 == 0 {
			rdb = redis.NewClient(opts)
			defer rdb.Close()
		}
		c, err := jobs.NewClient(rdb, jobs.ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		group, err := jobs.Gather(ctx, c, ending.Calls("", ""))
		if err != nil {
			t.Fatal(err)
		}
		stopWorker := func() {}
		if i%4 == 3 { // also with a worker, of a queue without work
			stopWorker = idleWorker(t, c)
		}
		var all sync.WaitGroup
		for n := range awaits {
			all.Go(func() {
				var err error
				switch n {
				case 0:
					_, err = await.All(ctx, group)
				case 1:
					_, err = await.Settled(ctx, group)
				case 2:
					for _, err = range await.AsCompleted(ctx, group) {
					}
				default:
					_, err = await.Result(ctx, group.Member(n%2))
				}
				if !errors.Is(err, jobs.ErrClosed) {
					t.Errorf("round %d: an await in flight ended with %v, want ErrClosed", i, err)
				}
			})
		}
		within(t, patience, "awaits in flight", func() bool { return c.Stats().AwaitsOpen >= awaits })
		stopWorker()
		if err := c.Close(); err != nil {
			t.Errorf("round %d: Close: %v", i, err)
		}
		all.Wait()
	}

	for i := range 4 { // what is started once stays
		round(i)
	}
	look := s.Client(t)
	connections := func() int {
		if !s.IsReal() {
			return 0
		}
		return len(clients(t, look, "rounds"))
	}
	goroutines := runtime.NumGoroutine()
	for i := range rounds {
		round(i)
	}
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > goroutines || connections() > pooled(kept) {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			t.Fatalf("%d goroutines, then %d; %d connections where the caller's client has %d\n%s", goroutines,
				runtime.NumGoroutine(), connections(), pooled(kept), clip(string(stacks), 20_000))
		}
		pause(t, 50*time.Millisecond)
	}
	if err := kept.Ping(t.Context()).Err(); err != nil {
		t.Errorf("the caller's client does not work any more: %v", err)
	}
}

// pooled returns how many connections a client keeps: go-redis has pipelines in a pool of their own, which the total leaves out.
func pooled(rdb *redis.Client) int {
	stats := rdb.PoolStats()
	n := stats.TotalConns
	if stats.PipelineStats != nil {
		n += stats.PipelineStats.TotalConns
	}
	return int(n)
}

// idleWorker starts a worker of a queue without work, and returns what ends it.
func idleWorker(t *testing.T, c *jobs.Client) (stop func()) {
	t.Helper()
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Queues: map[string]int{"idle": 1}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	<-w.Ready()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("worker: %v", err)
		}
	}
}
