package integration

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// silent is a logger for asynq.
type silent struct{}

func (silent) Debug(...any) {}
func (silent) Info(...any)  {}
func (silent) Warn(...any)  {}
func (silent) Error(...any) {}
func (silent) Fatal(...any) {}

// Two namespaces and a plain asynq server on one Redis: nothing crosses, nothing is eaten, the same IDs do not meet.
func TestDecision43_NeighboursDoNotMeet(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		foreign := asynq.NewServerFromRedisClient(s.Client(t), asynq.Config{
			Queues: map[string]int{"default": 1}, TaskCheckInterval: time.Millisecond, Logger: silent{}})
		if err := foreign.Start(asynq.NewServeMux()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(foreign.Shutdown)

		where := jobs.Define[int, string]("where")
		clients := map[string]*jobs.Client{}
		for _, namespace := range []string{"blue", "red"} {
			c := client(t, s, jobs.ClientConfig{Namespace: namespace, Logger: slog.New(slog.DiscardHandler)})
			clients[namespace] = c
			w, err := jobs.NewWorker(c, jobs.WorkerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			jobs.Handle(w, where, func(_ context.Context, i int) (string, error) { return fmt.Sprint(namespace, i), nil })
			serve(t, w)
		}
		for namespace, c := range clients {
			var tasks []*jobs.Task[string]
			for i := range 50 {
				task, err := jobs.CreateTask(ctx, c, where.Call(i, jobs.ID(fmt.Sprintf("task-%d", i))))
				if err != nil {
					t.Fatal(err)
				}
				tasks = append(tasks, task)
			}
			group, err := jobs.Gather(ctx, c, where.Calls(make([]int, 200)...), jobs.ID("group"))
			if err != nil {
				t.Fatal(err)
			}
			for i, task := range tasks {
				if got, err := await.Result(ctx, task); got != fmt.Sprint(namespace, i) || err != nil {
					t.Errorf("%s, task %d: %q, %v", namespace, i, got, err)
				}
			}
			got, err := await.All(ctx, group)
			if err != nil || len(got) != 200 {
				t.Errorf("%s: %d values of 200, %v", namespace, len(got), err)
			}
			for _, v := range got {
				if v != namespace+"0" {
					t.Errorf("%s: a member ran as %q", namespace, v)
				}
			}
		}
		// An ID of one namespace is not known in the other.
		only, err := jobs.CreateTask(ctx, clients["blue"], where.Call(1, jobs.ID("only-blue")))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := await.Result(ctx, jobs.TaskByID[string](clients["red"], only.ID())); !isKind(err, jobs.ErrUnknown) {
			t.Errorf("the other namespace knows it: %v", err)
		}
	})
}

// One process serves the plain asynq tasks of a team beside gatherq's.
func TestDecision43_WorkerRunsPlainAsynqTasks(t *testing.T) {
	t.Parallel()
	s := redistest.Any(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var mails atomic.Int64
	mux := asynq.NewServeMux()
	mux.HandleFunc("mail", func(_ context.Context, task *asynq.Task) error {
		if string(task.Payload()) != "hello" {
			return fmt.Errorf("payload %q", task.Payload())
		}
		mails.Add(1)
		return nil
	})
	c := client(t, s, jobs.ClientConfig{})
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Asynq: jobs.AsynqTasks{Handler: mux, Queues: map[string]int{"default": 1}}})
	if err != nil {
		t.Fatal(err)
	}
	jobs.Handle(w, ending, func(context.Context, string) (string, error) { return "ours", nil })
	serve(t, w)

	plain := asynq.NewClientFromRedisClient(s.Client(t))
	for range 5 {
		if _, err := plain.Enqueue(asynq.NewTask("mail", []byte("hello"))); err != nil {
			t.Fatal(err)
		}
	}
	task, err := jobs.CreateTask(ctx, c, ending.Call("value"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := await.Result(ctx, task); got != "ours" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	eventually(t, "5 plain tasks", func() bool { return mails.Load() == 5 })
}
