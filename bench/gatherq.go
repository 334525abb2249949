package bench

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/tasks"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// comparedSlots is the concurrency of a worker beside asynq's, which has the same.
const comparedSlots = asynqConcurrency

// fleetOf is worker processes of so many slots each.
func fleetOf(processes, slots int) []job {
	jobs := make([]job, processes)
	for i := range jobs {
		jobs[i] = job{Role: "gatherq", Concurrency: slots}
	}
	return jobs
}

// oneWorker is what is measured beside a reference.
func oneWorker() []job { return fleetOf(1, comparedSlots) }

// roundTrip is one task at a time on a worker with nothing else to do.
func roundTrip(trips int) side {
	return side{name: "gatherq", n: trips, jobs: oneWorker(), run: func(r *round) error {
		sums := make([]sum, trips)
		err := r.trips(trips, func(i int) (err error) {
			sums[i], err = r.addOne(i)
			return err
		})
		if err != nil {
			return err
		}
		return checkSums(sums, trips)
	}}
}

// addOne creates a task and awaits it.
func (r *round) addOne(member int) (sum, error) {
	task, err := jobs.CreateTask(r.ctx, r.client, add.Call(argsOf(member)))
	if err != nil {
		return sum{}, err
	}
	return await.Result(r.ctx, task)
}

// single is callers of which each creates a task, awaits it and goes on with its next.
func single(tasks, callers int) side {
	return side{name: "gatherq", n: tasks, jobs: oneWorker(), run: func(r *round) error {
		return r.callers(tasks, callers, r.addOne)
	}}
}

// gather is one caller that gathers members and awaits all their values.
func gather(members int) side {
	return side{name: "gatherq", n: members, jobs: oneWorker(), run: func(r *round) error {
		if err := r.window.open(r.ctx); err != nil {
			return err
		}
		args := make([]addArgs, members)
		for i := range args {
			args[i] = argsOf(i)
		}
		sums, err := gatherAll(r, add, args)
		if err != nil {
			return err
		}
		if err := r.window.shut(r.ctx); err != nil {
			return err
		}
		return checkSums(sums, members)
	}}
}

func gatherAll[A, R any](r *round, def jobs.Definition[A, R], args []A) ([]R, error) {
	group, err := jobs.Gather(r.ctx, r.client, def.Calls(args...))
	if err != nil {
		return nil, err
	}
	return await.All(r.ctx, group)
}

// gatherqWorker is a worker of gatherq with the bench's own types and those of cmd/worker.
type gatherqWorker struct {
	rdb    *redis.Client
	job    job
	fail   func(error)
	client *jobs.Client
	drain  context.CancelFunc
	ended  chan struct{}
}

func newGatherqWorker(rdb *redis.Client, j job, fail func(error)) role {
	return &gatherqWorker{rdb: rdb, job: j, fail: fail}
}

// work begins to work; an idle worker is parked, so it never rests.
func (g *gatherqWorker) work(ctx context.Context) (err error) {
	if g.client != nil {
		return nil
	}
	if g.client, err = newClient(g.rdb, g.job.Keys, os.Stderr); err != nil {
		return err
	}
	w, err := jobs.NewWorker(g.client, jobs.WorkerConfig{Concurrency: g.job.Concurrency, Drain: drainTime})
	if err != nil {
		return err
	}
	jobs.Handle(w, add, handleAdd)
	jobs.Handle(w, nap, handleNap)
	jobs.Handle(w, stamp, handleStamp)
	jobs.Handle(w, page, handlePage)
	if _, err := tasks.Register(w, tasks.Config{AllowSim: true, Redis: g.rdb}); err != nil {
		return err
	}
	running, drain := context.WithCancel(context.WithoutCancel(ctx))
	g.drain, g.ended = drain, make(chan struct{})
	go func() {
		defer close(g.ended)
		if err := w.Run(running); err != nil {
			g.fail(err)
		} else if running.Err() == nil {
			g.fail(errors.New("the worker ended by itself"))
		}
	}()
	select {
	case <-w.Ready():
		return nil
	case <-g.ended:
		return errors.New("the worker did not start")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g *gatherqWorker) rest() error                { return nil }
func (g *gatherqWorker) values() map[string]float64 { return nil }

func (g *gatherqWorker) end() {
	if g.drain != nil {
		g.drain()
		<-g.ended
	}
	if g.client != nil {
		_ = g.client.Close()
	}
}

// stamp tells when it started, in nanoseconds of the clock that all processes of a machine share.
var stamp = jobs.Define[jobs.None, int64]("bench.stamp")

func handleStamp(context.Context, jobs.None) (int64, error) { return time.Now().UnixNano(), nil }
