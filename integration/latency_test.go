package integration

import (
	"fmt"
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

// farRedis reaches Redis through a long wire.
func farRedis(t *testing.T, s *redistest.Server, delay time.Duration) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	opts.Addr = delayproxy.Start(t, opts.Addr, delay)
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// farClient is a client whose every connection goes through a long wire of its own.
func farClient(t *testing.T, s *redistest.Server, delay time.Duration, cfg jobs.ClientConfig) *jobs.Client {
	t.Helper()
	c, err := jobs.NewClient(farRedis(t, s, delay), cfg)
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
		endingWorker(t, farClient(t, s, wireDelay, jobs.ClientConfig{}))
		producer := farClient(t, s, wireDelay, jobs.ClientConfig{})
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

// idlePairs are producers and workers that know nothing of each other, so that each can be the first after a rest.
const idlePairs = 15

// On a wire of 5 ms each way the median trip from create to awaiter takes 3.3 times at most what a PING takes on the same wire, also of the
// first trips when nothing has happened for ten minutes: no connection has been closed meanwhile, and nothing has to be asked for again. The
// PING is measured, since the wire itself and each wake-up on it take this machine time, too.
func TestDecision39_ThreeRoundTripsAfterTenIdleMinutes(t *testing.T) {
	long(t)
	const delay = 5 * time.Millisecond
	s := redistest.Local(t)
	var producers []*jobs.Client
	for i := range idlePairs {
		cfg := jobs.ClientConfig{Namespace: fmt.Sprint("pair", i)}
		endingWorker(t, farClient(t, s, delay, cfg))
		producers = append(producers, farClient(t, s, delay, cfg))
	}
	wire := farRedis(t, s, delay)
	ping := func() time.Duration {
		begin := time.Now()
		if err := wire.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return time.Since(begin)
	}
	ping() // connects
	measure := func() (trips []time.Duration) {
		for _, p := range producers {
			begin := time.Now()
			roundTrip(t, p)
			trips = append(trips, time.Since(begin))
		}
		pause(t, 50*time.Millisecond)
		return trips
	}
	for range 3 { // connections, a subscription, scripts
		measure()
	}
	var before, pings []time.Duration
	for range 10 {
		before = append(before, measure()...)
		for range idlePairs {
			pings = append(pings, ping())
		}
		pause(t, 50*time.Millisecond)
	}
	pause(t, 10*time.Minute)
	first := measure()
	figure(t, "trips", map[string]any{
		"wire_ms": millis(2 * delay), "pings": len(pings), "ping_p50_us": quantile(pings, 0.5).Microseconds(), "trips": len(before), "p50_us": quantile(before, 0.5).Microseconds(),
		"idle_s": 600, "first_trips": len(first), "first_p50_us": quantile(first, 0.5).Microseconds(), "first_max_us": slices.Max(first).Microseconds(),
	})
	limit := quantile(pings, 0.5) * 33 / 10
	if quantile(before, 0.5) > limit || quantile(first, 0.5) > limit {
		t.Errorf("want medians of at most %v, have %v, and of the first %v", limit, quantile(before, 0.5), quantile(first, 0.5))
	}
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
