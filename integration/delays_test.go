package integration

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// No retry starts early, and nearly all within 50 ms of their time, in a fleet of which one worker leads. It measures time, so no
// other test runs beside it.
func TestDecision42_RetriesStartInTime(t *testing.T) {
	const tasks, workers = 60, 4
	s := redistest.Any(t)
	type attempt struct {
		ended time.Time
		after time.Duration
	}
	var mu sync.Mutex
	first, again := map[int]attempt{}, map[int]time.Time{}
	flaky := jobs.Define[int, jobs.None]("flaky", jobs.Retries(1))
	for range workers {
		w, err := jobs.NewWorker(client(t, s, jobs.ClientConfig{Logger: slog.New(slog.DiscardHandler)}), jobs.WorkerConfig{Concurrency: 8})
		if err != nil {
			t.Fatal(err)
		}
		jobs.Handle(w, flaky, func(_ context.Context, i int) (jobs.None, error) {
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			if _, tried := first[i]; tried {
				again[i] = now
				return jobs.None{}, nil
			}
			a := attempt{now, 137*time.Millisecond + time.Duration(i)*41*time.Millisecond}
			first[i] = a
			return jobs.None{}, jobs.RetryAfter(errors.New("not yet"), a.after)
		})
		serve(t, w)
	}
	c := client(t, s, jobs.ClientConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args := make([]int, tasks)
	for i := range args {
		args[i] = i
	}
	var created []*jobs.Task[jobs.None]
	for _, call := range flaky.Calls(args...) {
		task, err := jobs.CreateTask(ctx, c, call)
		if err != nil {
			t.Fatal(err)
		}
		created = append(created, task)
	}
	for _, task := range created {
		if _, err := await.Result(ctx, task); err != nil {
			t.Fatal(err)
		}
	}
	var late []time.Duration
	for i := range tasks {
		d := again[i].Sub(first[i].ended.Add(first[i].after))
		if d < 0 {
			t.Errorf("retry %d started %v early", i, -d)
		}
		late = append(late, d)
	}
	slices.Sort(late)
	p50, p90, last := late[tasks/2], late[tasks*9/10], late[tasks-1]
	t.Logf("start - due of %d retries: p50 %v, p90 %v, max %v", tasks, p50, p90, last)
	if p90 > 50*time.Millisecond || last > 500*time.Millisecond {
		t.Errorf("late: p90 %v, max %v", p90, last)
	}
}

// The worker that leads is killed: what is due meanwhile starts soon with a beat of another one, and never early.
func TestDelaysSurviveTheWorkerThatLeads(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t)
	rdb := s.Client(t)
	leads := func() string { return rdb.Get(t.Context(), "gq:{gatherq}:lead").Val() }
	first := worker(t, s)
	eventually(t, "a worker that leads", func() bool { return leads() != "" })
	old := leads()
	worker(t, s)
	echo := jobs.Define[int, int]("echo")
	c := client(t, s, jobs.ClientConfig{Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	first.kill(t)
	var tasks []*jobs.Task[int]
	var due []time.Time
	for i := range 10 {
		d := time.Duration(i+1) * 100 * time.Millisecond
		due = append(due, time.Now().Truncate(time.Millisecond).Add(d))
		task, err := jobs.CreateTask(ctx, c, echo.Call(i, jobs.Delay(d)))
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	var late []time.Duration
	for i, task := range tasks {
		out, err := await.Outcome(ctx, task)
		if err != nil || out.Value != i {
			t.Fatalf("%+v, %v", out, err)
		}
		d := out.StartedAt.Sub(due[i])
		if d < 0 {
			t.Errorf("task %d started %v early", i, -d)
		}
		late = append(late, d)
	}
	t.Logf("%v", late)
	slices.Sort(late)
	if p50 := late[len(late)/2]; p50 > 1500*time.Millisecond {
		t.Errorf("half of them started %v and more after their time: nobody stood in", p50)
	}
	eventually(t, "another one that leads", func() bool { return leads() != "" && leads() != old })
}

// What people do with asynq's own tools in a queue of ours, while all workers rest: it starts within a second, although no bell
// rings.
func TestDecision41_WorkMovedByHandStartsWithinASecond(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		c := client(t, s, jobs.ClientConfig{})
		endingWorker(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		inspector := asynq.NewInspectorFromRedisClient(s.Client(t))
		const queue = "gatherq:default"
		roundTrip(t, c) // the queue exists now
		var took []time.Duration
		times := 6
		if inFull() {
			times = 30
		}
		for i := range times {
			if err := inspector.PauseQueue(queue); err != nil {
				t.Fatal(err)
			}
			task, err := jobs.CreateTask(ctx, c, ending.Call("value"))
			if err != nil {
				t.Fatal(err)
			}
			pending, err := inspector.ListPendingTasks(queue)
			if err != nil || len(pending) != 1 {
				t.Fatalf("%d pending, %v", len(pending), err)
			}
			if err := inspector.ArchiveTask(queue, pending[0].ID); err != nil {
				t.Fatal(err)
			}
			if err := inspector.UnpauseQueue(queue); err != nil {
				t.Fatal(err)
			}
			// The worker rests again: the bell rang for nothing. Not always as long after its beat.
			pause(t, time.Duration(300+i*370%1000)*time.Millisecond)
			moved := time.Now()
			if err := inspector.RunTask(queue, pending[0].ID); err != nil {
				t.Fatal(err)
			}
			if _, err := await.Result(ctx, task); err != nil {
				t.Fatal(err)
			}
			took = append(took, time.Since(moved))
		}
		// Without the beat's look it is the end of a wait at the bells, 5 s away, so half of that tells the two apart.
		startsWithinASecond(t, took, 0.5, 2500*time.Millisecond)
	})
}

// A team's own asynq tasks, served by a worker of ours that rests, start within a second, too.
func TestDecision43_PlainTasksStartWithinASecond(t *testing.T) {
	t.Parallel()
	s := redistest.Any(t)
	began := make(chan time.Time, 1)
	w, err := jobs.NewWorker(client(t, s, jobs.ClientConfig{}), jobs.WorkerConfig{Asynq: jobs.AsynqTasks{
		Queues: map[string]int{"mail": 1},
		Handler: asynq.HandlerFunc(func(context.Context, *asynq.Task) error {
			began <- time.Now()
			return nil
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	jobs.Handle(w, ending, func(context.Context, string) (string, error) { return "", nil })
	serve(t, w)
	plain := asynq.NewClientFromRedisClient(s.Client(t))
	var took []time.Duration
	times := 9
	if inFull() {
		times = 60
	}
	for range times {
		enqueued := time.Now()
		if _, err := plain.Enqueue(asynq.NewTask("mail", nil), asynq.Queue("mail")); err != nil {
			t.Fatal(err)
		}
		select {
		case at := <-began:
			took = append(took, at.Sub(enqueued))
		case <-time.After(patience):
			t.Fatal("it did not start")
		}
		pause(t, 50*time.Millisecond)
	}
	startsWithinASecond(t, took, 0.75, 3*time.Second)
}

// startsWithinASecond wants all of it on a machine that does nothing else, and elsewhere, where steps take as long as the machine likes, that
// quantile within the looser limit.
func startsWithinASecond(t *testing.T, took []time.Duration, q float64, loose time.Duration) {
	t.Helper()
	figure(t, "no-ring", map[string]any{"tasks": len(took), "p50_ms": millis(quantile(took, 0.5)), "max_ms": millis(slices.Max(took))})
	if last := slices.Max(took); inFull() && last > time.Second {
		t.Errorf("one took %v: %v", last, took)
	}
	if at := quantile(took, q); at > loose {
		t.Errorf("the %v quantile is %v: %v", q, at, took)
	}
}
