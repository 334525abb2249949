package await_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
	"github.com/gatherq/gatherq/pkg/jobs/jobstest"
)

var doubled = jobs.Define[int, int]("bench.double")

func doublingFleet(b *testing.B) *jobs.Client {
	b.Helper()
	f := jobstest.New(b)
	jobstest.Stub(f, doubled, func(n int) (int, error) { return 2 * n, nil })
	f.Start()
	return f.Client
}

// A task from its creation to its value, on the embedded Redis.
func BenchmarkCreateAndAwait(b *testing.B) {
	ctx, c := context.Background(), doublingFleet(b)
	b.ReportAllocs()
	for b.Loop() {
		task, err := jobs.CreateTask(ctx, c, doubled.Call(21))
		if err != nil {
			b.Fatal(err)
		}
		if v, err := await.Result(ctx, task); err != nil || v != 42 {
			b.Fatal(v, err)
		}
	}
}

// A gather from the first call to the last value, on the embedded Redis.
func BenchmarkGatherAndAwait(b *testing.B) {
	for _, members := range []int{10, 200} {
		b.Run(fmt.Sprint(members, " members"), func(b *testing.B) {
			ctx, c := context.Background(), doublingFleet(b)
			args := make([]int, members)
			for i := range args {
				args[i] = i
			}
			b.ReportAllocs()
			for b.Loop() {
				group, err := jobs.Gather(ctx, c, doubled.Calls(args...))
				if err != nil {
					b.Fatal(err)
				}
				values, err := await.All(ctx, group)
				if err != nil || len(values) != members || values[members-1] != 2*(members-1) {
					b.Fatal(values, err)
				}
			}
		})
	}
}
