// Command quickstart is the example of the README: a worker and a producer in one program.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

var Greet = jobs.Define[string, string]("greet", jobs.Retries(3)) // one line for both sides

func main() {
	ctx, stop := context.WithCancel(context.Background())
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"})
	c, err := jobs.NewClient(rdb, jobs.ClientConfig{})
	check(err)
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{}) // usually in another process, on another host
	check(err)
	jobs.Handle(w, Greet, func(_ context.Context, name string) (string, error) { return "Hello " + name, nil })
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()

	task, err := jobs.CreateTask(ctx, c, Greet.Call("Ada")) // asyncio.create_task
	check(err)
	group, err := jobs.Gather(ctx, c, Greet.Calls("Grace", "Barbara")) // asyncio.gather
	check(err)
	one, err := await.Result(ctx, task)
	check(err)
	all, err := await.All(ctx, group) // in the order of the calls
	check(err)
	fmt.Println(one, all)
	stop() // the worker drains
	check(<-done)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
