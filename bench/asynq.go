package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

const (
	asynqTaskType     = "bench:add"
	asynqConcurrency  = 100
	asynqPollInterval = time.Millisecond
	asynqRetention    = time.Hour
	asynqGatherers    = 16
)

// asynqJob is an asynq server that looks for tasks each interval; 0 is asynq's default.
func asynqJob(interval time.Duration) []job { return []job{{Role: "asynq", CheckInterval: interval}} }

// asynqTasks is callers of which each creates a task, awaits it and goes on with its next.
func asynqTasks(name string, interval time.Duration, tasks, callers int) side {
	return side{name: name, n: tasks, jobs: asynqJob(interval), run: func(r *round) error {
		a := newAsynqAwaiter(r)
		return r.callers(tasks, callers, func(member int) (sum, error) {
			id, err := a.enqueue(member)
			if err != nil {
				return sum{}, err
			}
			return a.await(id)
		})
	}}
}

// asynqGather is one caller that awaits many tasks at once.
func asynqGather(members int) side {
	return side{name: "asynq-poll gather", n: members, jobs: asynqJob(time.Millisecond), run: func(r *round) error {
		a := newAsynqAwaiter(r)
		ids := make([]string, members)
		sums := make([]sum, members)
		if err := r.window.open(r.ctx); err != nil {
			return err
		}
		err := forEach(members, asynqGatherers, func(member int) (err error) {
			ids[member], err = a.enqueue(member)
			return err
		})
		if err != nil {
			return err
		}
		err = forEach(members, asynqGatherers, func(member int) (err error) {
			sums[member], err = a.await(ids[member])
			return err
		})
		if err != nil {
			return err
		}
		if err := r.window.shut(r.ctx); err != nil {
			return err
		}
		return checkSums(sums, members)
	}}
}

// callers measures tasks that callers share out evenly; each has one at a time.
func (r *round) callers(tasks, callers int, do func(member int) (sum, error)) error {
	sums := make([]sum, tasks)
	latencies := make([]time.Duration, tasks)
	if err := r.window.open(r.ctx); err != nil {
		return err
	}
	err := forEach(tasks, callers, func(member int) (err error) {
		begin := time.Now()
		sums[member], err = do(member)
		latencies[member] = time.Since(begin)
		return err
	})
	if err != nil {
		return err
	}
	if err := r.window.shut(r.ctx); err != nil {
		return err
	}
	r.window.latencies = latencies
	return checkSums(sums, tasks)
}

// forEach shares the members out evenly; a goroutine stops at its first error.
func forEach(members, goroutines int, do func(member int) error) error {
	errs := make([]error, goroutines)
	var group sync.WaitGroup
	for g := range goroutines {
		group.Go(func() {
			for member := g; member < members && errs[g] == nil; member += goroutines {
				errs[g] = do(member)
			}
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// asynqAwaiter awaits results the way asynq allows it: a task is kept after it is completed, and its state is asked for until then.
type asynqAwaiter struct {
	round     *round
	client    *asynq.Client
	inspector *asynq.Inspector
}

func newAsynqAwaiter(r *round) *asynqAwaiter {
	return &asynqAwaiter{round: r, client: asynq.NewClientFromRedisClient(r.rdb), inspector: asynq.NewInspectorFromRedisClient(r.rdb)}
}

func (a *asynqAwaiter) enqueue(member int) (id string, err error) {
	args, err := json.Marshal(argsOf(member))
	if err != nil {
		return "", err
	}
	info, err := a.client.EnqueueContext(a.round.ctx, asynq.NewTask(asynqTaskType, args),
		asynq.Queue(a.round.keys.queue()), asynq.Retention(asynqRetention))
	if err != nil {
		return "", err
	}
	return info.ID, nil
}

func (a *asynqAwaiter) await(id string) (sum, error) {
	for {
		info, err := a.inspector.GetTaskInfo(a.round.keys.queue(), id)
		if err != nil {
			return sum{}, fmt.Errorf("GetTaskInfo: %w", err)
		}
		switch info.State {
		case asynq.TaskStateCompleted:
			return decodeSum(info.Result)
		case asynq.TaskStateRetry, asynq.TaskStateArchived:
			return sum{}, errors.New("task failed: " + info.LastErr)
		}
		// As the reference does it: a timer with a channel would cost more than what it waits for.
		time.Sleep(asynqPollInterval)
	}
}

// asynqServer is an asynq worker whose handler writes the result with the ResultWriter. At rest it is shut down: its polling would
// take from whoever is measured then.
type asynqServer struct {
	rdb    *redis.Client
	job    job
	server *asynq.Server
}

func newAsynqServer(rdb *redis.Client, j job, _ func(error)) role {
	return &asynqServer{rdb: rdb, job: j}
}

func (s *asynqServer) work(context.Context) error {
	if s.server != nil {
		return nil
	}
	s.server = asynq.NewServerFromRedisClient(s.rdb, asynq.Config{
		Concurrency:       asynqConcurrency,
		LogLevel:          asynq.ErrorLevel,
		Queues:            map[string]int{s.job.Keys.queue(): 1},
		TaskCheckInterval: s.job.CheckInterval,
	})
	return s.server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		result, err := runAdd(task.Payload())
		if err != nil {
			return err
		}
		_, err = task.ResultWriter().Write(result)
		return err
	}))
}

func (s *asynqServer) rest() error {
	if s.server != nil {
		s.server.Shutdown()
		s.server = nil
	}
	return nil
}

func (s *asynqServer) values() map[string]float64 { return nil }
func (s *asynqServer) end()                       { _ = s.rest() }
