package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// One line for both sides.
var count = jobs.Define[string, int]("text.count", jobs.Retries(3), jobs.Timeout(30*time.Second))

// fleet is a client and a worker over a Redis in this process, for the examples.
func fleet() (context.Context, *jobs.Client, func()) {
	r, err := embedded.Start("")
	if err != nil {
		log.Fatal(err)
	}
	rdb := redis.NewClient(r.Options())
	c, err := jobs.NewClient(rdb, jobs.ClientConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Concurrency: 4})
	if err != nil {
		log.Fatal(err)
	}
	jobs.Handle(w, count, func(_ context.Context, text string) (int, error) { return len(strings.Fields(text)), nil })
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	ran := make(chan error, 1)
	go func() { ran <- w.Run(ctx) }()
	<-w.Ready()
	return ctx, c, func() {
		stop()
		if err := errors.Join(<-ran, c.Close(), rdb.Close()); err != nil {
			log.Fatal(err)
		}
		r.Close()
	}
}

func ExampleCreateTask() {
	ctx, c, done := fleet()
	defer done()
	task, err := jobs.CreateTask(ctx, c, count.Call("four words stand here", jobs.ID("count-1")))
	if err != nil {
		log.Fatal(err)
	}
	n, err := await.Result(ctx, task)
	fmt.Println(task.ID(), n, err)
	// Output: count-1 4 <nil>
}

func ExampleGather() {
	ctx, c, done := fleet()
	defer done()
	group, err := jobs.Gather(ctx, c, count.Calls("one", "one two", "one two three"))
	if err != nil {
		log.Fatal(err)
	}
	sizes, err := await.All(ctx, group)
	fmt.Println(sizes, err)
	// Output: [1 2 3] <nil>
}

// A source that fails: nothing was started, nothing remains.
func ExampleGatherSeq2() {
	ctx, c, done := fleet()
	defer done()
	lines := func(yield func(jobs.Call[int], error) bool) {
		for n, line := range []string{"fine", "fine as well", ""} {
			if line == "" {
				yield(jobs.Call[int]{}, fmt.Errorf("line %d is empty", n+1))
				return
			}
			if !yield(count.Call(line), nil) {
				return
			}
		}
	}
	_, err := jobs.GatherSeq2(ctx, c, lines)
	fmt.Println(err)
	// Output: line 3 is empty
}

func ExampleRejectedError() {
	ctx, c, done := fleet()
	defer done()
	_, err := jobs.CreateTask(ctx, c, count.Call("text", jobs.Retries(5000)))
	if r, ok := errors.AsType[*jobs.RejectedError](err); ok {
		fmt.Println(r.Field, "is", r.Why)
	}
	// Output: retries is 5000, at most 1000
}
