package jobs_test

import (
	"errors"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func TestMembersWhoseArgumentsAreGoneEndAsLost(t *testing.T) {
	onBoth(t, func(t *testing.T, rdb *redis.Client) {
		ctx := within(t, 30*time.Second)
		c := newClient(t, rdb, jobs.ClientConfig{})
		numbers := make([]int, 100) // of two segments
		group, err := jobs.Gather(ctx, c, double.Calls(numbers...))
		if err != nil {
			t.Fatal(err)
		}
		keys, err := rdb.Keys(ctx, "*:a:*").Result()
		if err != nil || len(keys) != 1 {
			t.Fatal(keys, err)
		}
		if err := rdb.HDel(ctx, keys[0], "0").Err(); err != nil {
			t.Fatal(err)
		}
		work(t, c, jobs.WorkerConfig{Concurrency: 4}, handleDouble)
		outs, err := await.Settled(ctx, group)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range outs {
			if lost := errors.Is(o.Err, jobs.ErrLost); lost != (i < 64) || !lost && o.Err != nil {
				t.Fatalf("%d: %v", i, o.Err)
			}
		}
	})
}
