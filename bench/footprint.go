package bench

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/bench/report"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// creators is how many goroutines create the tasks that are awaited.
const creators = 16

// awaits is what open awaits cost the process that has them: heap, stacks of its goroutines, connections. No worker is there until they
// have been weighed; then one runs the tasks, and every await must end with the right value.
func awaits(tasks int) side {
	return side{name: "gatherq", n: tasks, run: func(r *round) error {
		ids := make([]string, tasks)
		err := forEach(tasks, creators, func(i int) error {
			task, err := jobs.CreateTask(r.ctx, r.client, add.Call(argsOf(i)))
			if err == nil {
				ids[i] = task.ID()
			}
			return err
		})
		if err != nil {
			return err
		}
		rdb, err := connect(r.cfg.Target)
		if err != nil {
			return err
		}
		defer rdb.Close()
		client, err := newClient(rdb, r.keys, r.cfg.Stderr)
		if err != nil {
			return err
		}
		defer client.Close()
		handles := make([]*jobs.Task[sum], tasks)
		for i, id := range ids {
			handles[i] = jobs.TaskByID[sum](client, id)
		}
		sums, errs := make([]sum, tasks), make(chan error, tasks)
		if err := rdb.Ping(r.ctx).Err(); err != nil { // its first connection
			return err
		}
		before, err := weigh(r.ctx, r.rdb)
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancel(r.ctx)
		defer stop()
		for i := range tasks {
			go func() {
				var err error
				sums[i], err = await.Result(ctx, handles[i])
				errs <- err
			}()
		}
		for client.Stats().AwaitsOpen < tasks {
			if err := pause(ctx, 10*time.Millisecond); err != nil {
				return err
			}
		}
		if err := pause(ctx, recheckTime); err != nil {
			return err
		}
		after, err := weigh(r.ctx, r.rdb)
		if err != nil {
			return err
		}
		r.set(report.HeapPerAwait, (after.heap-before.heap)/float64(tasks))
		r.set("stack_bytes_per_await", (after.stacks-before.stacks)/float64(tasks))
		r.set(report.AwaitConnections, after.connections-before.connections)
		return r.endAwaits(errs, sums)
	}}
}

// recheckTime is long enough for all awaits to be registered and checked again.
const recheckTime = 3 * time.Second

// endAwaits has a worker run the tasks that are awaited.
func (r *round) endAwaits(errs <-chan error, sums []sum) error {
	workers, err := r.start(oneWorker()...)
	if err != nil {
		return err
	}
	defer stopAll(workers)
	if err := askAll(r.ctx, workers, orderWork); err != nil {
		return err
	}
	for range sums {
		if err := <-errs; err != nil {
			return err
		}
	}
	return checkSums(sums, len(sums))
}

// weight is what this process holds in memory, and how many connections Redis has.
type weight struct{ heap, stacks, connections float64 }

func weigh(ctx context.Context, rdb *redis.Client) (w weight, err error) {
	info, err := readInfo(ctx, rdb)
	if err != nil {
		return w, err
	}
	if w.connections, err = strconv.ParseFloat(info["connected_clients"], 64); err != nil {
		return w, fmt.Errorf("INFO: connected_clients: %w", err)
	}
	runtime.GC()
	runtime.GC() // what the first one only found
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	w.heap, w.stacks = float64(m.HeapAlloc), float64(m.StackInuse)
	return w, nil
}

// stored is what a settled member takes in Redis, with 100 bytes in and 100 bytes out.
func stored(members int) side {
	return side{name: "gatherq", n: members, jobs: oneWorker(), run: func(r *round) error {
		texts := make([]string, members)
		for i := range texts {
			texts[i] = text(i, textBytes-len(`""`))
		}
		if _, err := gatherAll(r, echoedText, texts[:min(members, 1000)]); err != nil { // so that connections and scripts are there
			return err
		}
		if err := r.keys.settleDown(r.ctx, r.rdb); err != nil {
			return err
		}
		before, err := usedMemory(r.ctx, r.rdb)
		if err != nil {
			return err
		}
		back, err := gatherAll(r, echoedText, texts)
		if err != nil {
			return err
		}
		for i, got := range back {
			if got != texts[i] {
				return fmt.Errorf("member %d: result %q, want %q", i, got, texts[i])
			}
		}
		if err := r.keys.settleDown(r.ctx, r.rdb); err != nil {
			return err
		}
		after, err := usedMemory(r.ctx, r.rdb)
		if err != nil {
			return err
		}
		r.set(report.StoredBytes, (after-before)/float64(members))
		return nil
	}}
}

// usedMemory returns what Redis has allocated, less the buffers of its connections, which come and go.
func usedMemory(ctx context.Context, rdb *redis.Client) (float64, error) {
	info, err := readInfo(ctx, rdb)
	if err != nil {
		return 0, err
	}
	used, err := strconv.ParseFloat(info["used_memory"], 64)
	if err != nil {
		return 0, fmt.Errorf("INFO: used_memory: %w", err)
	}
	buffers, err := strconv.ParseFloat(info["mem_clients_normal"], 64)
	if err != nil {
		buffers = 0
	}
	return used - buffers, nil
}
