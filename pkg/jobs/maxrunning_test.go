package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func TestDecision28_MaxRunningIsChecked(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, jobs.ClientConfig{})
		def := jobs.Define[int, int]("t")
		for n, limit := range map[int]string{0: "at least 1", -1: "at least 1", math.MinInt: "at least 1", 10_000_001: "at most 10000000"} {
			_, err := jobs.Gather(t.Context(), c, def.Calls(1, 2, 3), jobs.MaxRunning(n))
			if !errors.Is(err, jobs.ErrRejected) || !strings.Contains(err.Error(), "max-running") || !strings.Contains(err.Error(), limit) {
				t.Errorf("%d: %v", n, err)
			}
		}
		if n := rdb.DBSize(t.Context()).Val(); n != 0 {
			t.Errorf("%d keys of what was refused", n)
		}
	})
}

// No more run at once than may, also of members that travel alone; all end; and the status says why the others wait.
func TestDecision28_MaxRunningOfMembersHereAndElsewhere(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		const members, most = 120, 3
		c := newClient(t, rdb, jobs.ClientConfig{})
		var running, high atomic.Int64
		hold := make(chan struct{})
		def := jobs.Define[int, int]("t", jobs.Retries(1), jobs.Backoff(time.Millisecond, time.Millisecond))
		calls := make([]jobs.Call[int], members)
		for i := range calls {
			calls[i] = def.Call(i)
			if i%5 == 0 {
				calls[i] = def.Call(i, jobs.Queue("low"))
			}
		}
		g, err := jobs.Gather(t.Context(), c, calls[1:], jobs.MaxRunning(most))
		if err != nil {
			t.Fatal(err)
		}
		work(t, c, jobs.WorkerConfig{Concurrency: 20, Queues: map[string]int{"default": 1, "low": 1}}, func(w *jobs.Worker) {
			jobs.Handle(w, def, func(ctx context.Context, i int) (int, error) {
				n := running.Add(1)
				defer running.Add(-1)
				for m := high.Load(); n > m && !high.CompareAndSwap(m, n); m = high.Load() {
				}
				<-hold
				time.Sleep(time.Millisecond)
				if i%7 == 0 && jobs.Current(ctx).Attempt == 1 {
					return 0, errors.New("once more")
				}
				return i, nil
			})
		})
		soon(t, "as many run as may", func() bool { return running.Load() == most })
		info, err := jobs.Inspect(t.Context(), g)
		if err != nil || info.Waits != fmt.Sprint(most, " members run, no more may at once") {
			t.Errorf("%+v %v", info, err)
		}
		soon(t, "a member that waits in line", func() bool {
			for i := 4; i < members-1; i += 5 { // those of the other queue
				if info, err := jobs.Inspect(t.Context(), g.Member(i)); err == nil && info.Waits == "waits until fewer members of its group run" {
					return true
				}
			}
			return false
		})
		close(hold)
		values, err := await.All(within(t, time.Minute), g)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			if v != i+1 {
				t.Errorf("member %d: %d", i, v)
			}
		}
		if high.Load() != most {
			t.Errorf("up to %d ran at once, want %d", high.Load(), most)
		}
		if info, err := jobs.Inspect(t.Context(), g); err != nil || info.Waits != "" {
			t.Errorf("%+v %v", info, err)
		}
	})
}
