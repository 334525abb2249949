// Glutton is a worker for a test of what happens where memory ends: beside tasks that nap in their first delivery it has one that takes memory for as long as it lives.
// It counts each start of a task in Redis.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// morsel is what eat takes at a time.
const morsel = 1 << 20

// full is where eat stops, were it ever let: a machine is not to go down with it.
const full = 512

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(url string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	opts, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	c, err := jobs.NewClient(rdb, jobs.ClientConfig{})
	if err != nil {
		return err
	}
	defer c.Close()
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Concurrency: 16, Queues: map[string]int{"default": 1, "table": 1}})
	if err != nil {
		return err
	}
	jobs.Handle(w, jobs.Define[int, int]("nap"), func(ctx context.Context, n int) (int, error) {
		if err := rdb.Incr(ctx, "sim:nap").Err(); err != nil {
			return 0, err
		}
		if jobs.Current(ctx).Delivery > 1 {
			return n, nil
		}
		<-ctx.Done() // it has not ended when the memory does
		return 0, context.Cause(ctx)
	})
	jobs.Handle(w, jobs.Define[int, int]("eat"), func(ctx context.Context, _ int) (int, error) {
		if err := rdb.Incr(ctx, "sim:eat").Err(); err != nil {
			return 0, err
		}
		var eaten [][]byte
		for len(eaten) < full {
			b := make([]byte, morsel)
			for i := range b {
				b[i] = byte(i) // a page is there once it is written
			}
			eaten = append(eaten, b)
		}
		return len(eaten), nil
	})
	if err := w.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
