package await_test

import (
	"testing"
	"time"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func TestZZ(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		for range 300 {
			b := time.Now()
			g := must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, double.Calls(1)))
			must[[]int](t)(await.All(ctx, g))
			d := time.Since(b)
			b = time.Now()
			task := must[*jobs.Task[int]](t)(jobs.CreateTask(ctx, f.c, double.Call(1)))
			must[int](t)(await.Result(ctx, task))
			if d > 500*time.Millisecond || time.Since(b) > 500*time.Millisecond { t.Log(d, time.Since(b)) }
		}
	})
}
