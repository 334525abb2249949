package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/bench/report"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// millionTime bounds what has to do with the largest gather, its expiry included.
const millionTime = 15 * time.Minute

// latency is how long others wait for Redis at most, from the first write of a large gather to the removal of its last key. A process of
// its own asks meanwhile, as redis-cli --latency does.
func latency(members, retentionSeconds int) side {
	retention := time.Duration(retentionSeconds) * time.Second
	fleet := append(oneWorker(), job{Role: "ping"})
	return side{name: "gatherq", n: members, jobs: fleet, limit: millionTime, run: func(r *round) error {
		began := time.Now()
		group, err := jobs.GatherSeq(r.ctx, r.client, echoedText.CallSeq(func(yield func(string) bool) {
			for i := range members {
				if !yield(text(i, textBytes-len(`""`))) {
					return
				}
			}
		}), jobs.Retention(retention))
		if err != nil {
			return err
		}
		seen := 0
		for out, err := range await.AsCompleted(r.ctx, group) {
			if err == nil {
				err = out.Err
			}
			if err != nil {
				return err
			}
			if want := text(out.Index, textBytes-len(`""`)); out.Value != want {
				return fmt.Errorf("member %d: result %q, want %q", out.Index, out.Value, want)
			}
			seen++
		}
		if seen != members {
			return fmt.Errorf("%d results for %d members", seen, members)
		}
		r.set(report.PerSecond, float64(members)/time.Since(began).Seconds())
		if err := r.expired(); err != nil {
			return err
		}
		a, err := r.workers[1].ask(r.ctx, orderUsage)
		if err != nil {
			return err
		}
		for name, value := range a.Values {
			if name != cpuValue {
				r.set(name, value)
			}
		}
		slowest, err := slowestCommand(r.ctx, r.rdb, began)
		r.set("slowest_command_ms", slowest)
		return err
	}}
}

// expired waits until nothing is left that bears an ID.
func (r *round) expired() error {
	for {
		left := 0
		for cursor := uint64(0); ; {
			found, next, err := r.rdb.Scan(r.ctx, cursor, r.keys.space().Prefix(0)+"?:*", 1000).Result()
			if err != nil {
				return err
			}
			left += len(found)
			if cursor = next; cursor == 0 {
				break
			}
		}
		if left == 0 {
			return nil
		}
		if err := pause(r.ctx, time.Second); err != nil {
			return fmt.Errorf("%d keys are left: %w", left, err)
		}
	}
}

// slowestCommand returns the longest execution, in milliseconds, that Redis has logged since began: of those over its
// slowlog-log-slower-than, 10 ms by default. 0: none.
func slowestCommand(ctx context.Context, rdb *redis.Client, began time.Time) (float64, error) {
	log, err := rdb.SlowLogGet(ctx, 128).Result()
	if err != nil {
		return 0, fmt.Errorf("SLOWLOG: %w", err)
	}
	slowest := time.Duration(0)
	for _, entry := range log {
		if !entry.Time.Before(began.Truncate(time.Second)) {
			slowest = max(slowest, entry.Duration)
		}
	}
	return float64(slowest.Microseconds()) / 1e3, nil
}

// pingEvery is the pause between two samples; redis-cli's is 10 ms.
const pingEvery = 2 * time.Millisecond

// pinger measures PING all the time.
type pinger struct {
	rdb  *redis.Client
	fail func(error)

	mu    sync.Mutex
	stop  context.CancelFunc
	ended chan struct{}
	took  []time.Duration
}

func newPinger(rdb *redis.Client, _ job, fail func(error)) role { return &pinger{rdb: rdb, fail: fail} }

func (p *pinger) work(ctx context.Context) error {
	if err := p.rdb.Ping(ctx).Err(); err != nil { // its connection
		return err
	}
	p.mu.Lock()
	p.took = nil
	p.mu.Unlock()
	running, stop := context.WithCancel(ctx)
	p.stop, p.ended = stop, make(chan struct{})
	go func() {
		defer close(p.ended)
		for pause(running, pingEvery) == nil {
			began := time.Now()
			if err := p.rdb.Ping(running).Err(); err != nil {
				if !errors.Is(err, context.Canceled) {
					p.fail(err)
				}
				return
			}
			took := time.Since(began)
			p.mu.Lock()
			p.took = append(p.took, took)
			p.mu.Unlock()
		}
	}()
	return nil
}

func (p *pinger) rest() error {
	if p.stop != nil {
		p.stop()
		<-p.ended
		p.stop = nil
	}
	return nil
}

func (p *pinger) values() map[string]float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	sorted := slices.Sorted(slices.Values(p.took))
	values := map[string]float64{"pings": float64(len(sorted))}
	if n := len(sorted); n > 0 {
		values[report.SlowestPing] = float64(sorted[n-1].Nanoseconds()) / 1e6
		values["p50_ping_ms"] = report.Percentile(sorted, 50) / 1e3
		values["p99_ping_ms"] = report.Percentile(sorted, 99) / 1e3
		values["p999_ping_ms"] = float64(sorted[(n-1)*999/1000].Nanoseconds()) / 1e6
	}
	return values
}

func (p *pinger) end() { _ = p.rest() }
