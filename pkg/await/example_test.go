package await_test

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

// What the examples share: two task types, and a client whose worker runs in this process.
var (
	Length = jobs.Define[string, int]("length")
	Upper  = jobs.Define[string, string]("upper")
)

var errEmpty = jobs.ErrorCode("empty")

func workshop() (ctx context.Context, c *jobs.Client, stop func()) {
	r, err := embedded.Start("")
	if err != nil {
		log.Fatal(err)
	}
	c, err = jobs.NewClient(redis.NewClient(r.Options()), jobs.ClientConfig{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Concurrency: 1, Drain: time.Second})
	if err != nil {
		log.Fatal(err)
	}
	jobs.Handle(w, Length, func(_ context.Context, s string) (int, error) {
		if s == "" {
			return 0, fmt.Errorf("nothing to measure: %w", errEmpty)
		}
		return len(s), nil
	})
	jobs.Handle(w, Upper, func(_ context.Context, s string) (string, error) { return strings.ToUpper(s), nil })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	working, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(working) }()
	return ctx, c, func() {
		end()
		<-ended
		_ = c.Close()
		cancel()
		r.Close()
	}
}

func ExampleResult() {
	ctx, c, stop := workshop()
	defer stop()

	task, err := jobs.CreateTask(ctx, c, Length.Call("gather"))
	if err != nil {
		log.Fatal(err)
	}
	n, err := await.Result(ctx, task)
	fmt.Println(n, err)

	// Any process may await it, as often as it likes.
	n, err = await.Result(ctx, jobs.TaskByID[int](c, task.ID()))
	fmt.Println(n, err)
	// Output:
	// 6 <nil>
	// 6 <nil>
}

func ExampleResult_errors() {
	ctx, c, stop := workshop()
	defer stop()

	task, err := jobs.CreateTask(ctx, c, Length.Call("", jobs.ID("measure-nothing")))
	if err != nil {
		log.Fatal(err)
	}
	_, err = await.Result(ctx, task)
	switch {
	case errors.Is(err, await.ErrGaveUp):
		fmt.Println("my own deadline; the task goes on")
	case errors.Is(err, errEmpty): // the code crossed Redis
		fmt.Println(err)
	}
	_, err = await.Result(ctx, jobs.TaskByID[int](c, "nobody-made-this"))
	fmt.Println(errors.Is(err, jobs.ErrUnknown))
	// Output:
	// gatherq: error measure-nothing (length): nothing to measure: empty
	// true
}

func ExampleAll() {
	ctx, c, stop := workshop()
	defer stop()

	group, err := jobs.Gather(ctx, c, Length.Calls("a", "bb", "ccc"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(await.All(ctx, group))
	// Output:
	// [1 2 3] <nil>
}

func ExampleOf() {
	ctx, c, stop := workshop()
	defer stop()

	a, err := jobs.CreateTask(ctx, c, Length.Call("a"))
	if err != nil {
		log.Fatal(err)
	}
	b, err := jobs.CreateTask(ctx, c, Length.Call("bb"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(await.All(ctx, await.Of(b, a)))
	// Output:
	// [2 1] <nil>
}

func ExampleSettled() {
	ctx, c, stop := workshop()
	defer stop()

	group, err := jobs.Gather(ctx, c, Length.Calls("a", "", "ccc"))
	if err != nil {
		log.Fatal(err)
	}
	outs, err := await.Settled(ctx, group)
	if err != nil {
		log.Fatal(err)
	}
	for _, out := range outs {
		n, err := out.Result()
		fmt.Println(out.Index, out.State, n, errors.Is(err, errEmpty))
	}
	// Output:
	// 0 succeeded 1 false
	// 1 failed 0 true
	// 2 succeeded 3 false
}

func ExampleInto() {
	ctx, c, stop := workshop()
	defer stop()

	group, err := jobs.Gather(ctx, c, jobs.Mixed(Length.Call("abc"), Upper.Call("abc")))
	if err != nil {
		log.Fatal(err)
	}
	var n int
	var s string
	if err := await.Into(ctx, group, &n, &s); err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, s)
	// Output:
	// 3 ABC
}

func ExampleAsCompleted() {
	ctx, c, stop := workshop()
	defer stop()

	group, err := jobs.Gather(ctx, c, Length.Calls("a", "bb", "ccc"))
	if err != nil {
		log.Fatal(err)
	}
	total, last := 0, 0
	for out, err := range await.AsCompleted(ctx, group) {
		if err != nil {
			log.Fatal(err) // the waiting ended, not a member
		}
		total += out.Value
		if last = out.Order; last == 2 {
			break // say the process ends here
		}
	}
	for out, err := range await.AsCompleted(ctx, group, await.After(last)) {
		if err != nil {
			log.Fatal(err)
		}
		total += out.Value
	}
	fmt.Println(total)
	// Output:
	// 6
}

func ExampleInOrder() {
	ctx, c, stop := workshop()
	defer stop()

	group, err := jobs.Gather(ctx, c, Upper.Calls("a", "b", "c"))
	if err != nil {
		log.Fatal(err)
	}
	for out, err := range await.InOrder(ctx, group) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(out.Index, out.Value)
	}
	// Output:
	// 0 A
	// 1 B
	// 2 C
}
