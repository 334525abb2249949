package jobs_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func TestSmoke(t *testing.T) {
	r, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rdb := redis.NewClient(r.Options())
	defer rdb.Close()
	smoke(t, rdb)
}

func TestSmokeReal(t *testing.T) {
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:7412"})
	defer rdb.Close()
	rdb.FlushAll(t.Context())
	smoke(t, rdb)
}

func smoke(t *testing.T, rdb *redis.Client) {
	c, err := jobs.NewClient(rdb, jobs.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Concurrency: 4})
	if err != nil {
		t.Fatal(err)
	}
	double := jobs.Define[int, int]("double")
	jobs.Handle(w, double, func(ctx context.Context, n int) (int, error) { return 2 * n, nil })
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	<-w.Ready()
	short, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	begin := time.Now()
	task, err := jobs.CreateTask(short, c, double.Call(21))
	if err != nil {
		t.Fatal(err)
	}
	v, err := await.Result(short, task)
	fmt.Println(v, err, time.Since(begin))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, 1, 1, 1, 1, 1, 1, 1, 1, 10, 1000, 20000} {
		begin = time.Now()
		args := make([]int, n)
		for i := range args {
			args[i] = i
		}
		g, err := jobs.Gather(short, c, double.Calls(args...))
		if err != nil {
			t.Fatal(err)
		}
		made := time.Since(begin)
		all, err := await.All(short, g)
		fmt.Println(n, len(all), err, made, time.Since(begin))
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range all {
			if v != 2*i {
				t.Fatal(i, v)
			}
		}
	}
	stop()
	begin = time.Now()
	fmt.Println(<-done, time.Since(begin))
	fmt.Printf("%+v\n", w.Stats())
}
