package await_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// Results that a restored Redis lacks, or that somebody removed, are those of members that have expired: nobody polls for them for ever.
func TestDecision08_ResultsThatAreGoneAreExpired(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
		defer stop()
		numbers := make([]int, 300)
		g := must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, double.Calls(numbers...)))
		must[[]int](t)(await.All(ctx, g))
		keys := must[[]string](t)(f.rdb.Keys(ctx, "*:v:"+g.ID()+":0").Result())
		if len(keys) != 1 {
			t.Fatal(keys)
		}
		ranges := must[int64](t)(f.rdb.HLen(ctx, keys[0]).Result())
		if err := f.rdb.HDel(ctx, keys[0], "2").Err(); err != nil || ranges < 3 {
			t.Fatal(ranges, err)
		}
		for name, err := range map[string]error{
			"All":         second(await.All(ctx, g)),
			"Settled":     second(await.Settled(ctx, g)),
			"AsCompleted": last(await.AsCompleted(ctx, g)),
		} {
			if !errors.Is(err, jobs.ErrExpired) {
				t.Errorf("%s: %v", name, err)
			}
		}
		gone, all := 0, 0
		for out, err := range await.InOrder(ctx, g) {
			if all++; err != nil {
				t.Fatal(err)
			}
			if errors.Is(out.Err, jobs.ErrExpired) {
				gone++
			} else if out.Err != nil {
				t.Fatal(out.Err)
			}
		}
		if all != len(numbers) || gone == 0 || gone == all {
			t.Errorf("in order there are %d members, %d of them expired", all, gone)
		}
	})
}
