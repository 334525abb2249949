package integration

import (
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/delayproxy"
	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// wireDelay is one way of the wire between everybody and Redis. It is so long that the time a task takes is a count of the times
// that it crosses the wire.
const wireDelay = 50 * time.Millisecond

// farClient is a client whose every connection goes through a long wire of its own.
func farClient(t *testing.T, s *redistest.Server, cfg jobs.ClientConfig) *jobs.Client {
	t.Helper()
	opts, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	opts.Addr = delayproxy.Start(t, opts.Addr, wireDelay)
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { rdb.Close() })
	c, err := jobs.NewClient(rdb, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// From the call of CreateTask to the value in the awaiter's hands: the bell with its dequeue, the claim, the settle with its
// notice. Nothing else is waited for.
func TestDecision39_ThreeRoundTrips(t *testing.T) {
	if underRace {
		t.Skip("the race detector makes steps as long as a trip; the README's test command counts them")
	}
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		endingWorker(t, farClient(t, s, jobs.ClientConfig{}))
		producer := farClient(t, s, jobs.ClientConfig{})
		var took []time.Duration
		for i := range 12 {
			begin := time.Now()
			roundTrip(t, producer)
			if i > 1 { // first calls connect, subscribe, and send scripts whole
				took = append(took, time.Since(begin))
			}
			pause(t, 300*time.Millisecond) // the worker goes back to rest
		}
		slices.Sort(took)
		t.Logf("%v", took)
		// The quickest one: what waits for a further answer is slower each time, what waits for a busy machine is not.
		if trips := float64(took[0]) / float64(2*wireDelay); trips < 2 || trips > 3.5 {
			t.Errorf("%.1f round trips (%v), want 3", trips, took[0])
		}
	})
}

func roundTrip(t *testing.T, c *jobs.Client) {
	t.Helper()
	task, err := jobs.CreateTask(t.Context(), c, ending.Call("value"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := await.Result(t.Context(), task); err != nil {
		t.Fatal(err)
	}
}
