package integration

import (
	"context"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// Three workers are replaced twice each while 100 tasks a second are created and awaited: nobody notices. With GATHERQ_LONG for two
// minutes, and 99 % of them take less than a second.
func TestARollingDeployUnderLoad(t *testing.T) {
	t.Parallel()
	const fleet, rate = 3, 100
	least := 3 * time.Second
	if inFull() {
		least = 2 * time.Minute
	}
	s := redistest.Local(t)
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
	fresh := func() *program { return worker(t, s, "--concurrency", "16") }
	var workers []*program
	for range fleet {
		workers = append(workers, fresh())
	}

	ctx, cancel := context.WithTimeout(t.Context(), least+5*patience)
	defer cancel()
	deployed := make(chan struct{})
	var load sync.WaitGroup
	var mu sync.Mutex
	var took []time.Duration
	created, again := 0, 0
	load.Go(func() {
		tick := time.NewTicker(time.Second / rate)
		defer tick.Stop()
		begin := time.Now()
		var each sync.WaitGroup
		defer each.Wait()
		for i := 0; ctx.Err() == nil; i++ {
			<-tick.C
			select {
			case <-deployed:
				if time.Since(begin) >= least {
					created = i
					return
				}
			default:
			}
			each.Go(func() {
				begin := time.Now()
				task, err := jobs.CreateTask(ctx, c, sim.Call(steps(`{"incr":"n"},{"sleep_ms":30},{"return":%d}`, i)))
				if err != nil {
					t.Errorf("task %d: %v", i, err)
					return
				}
				out, err := await.Outcome(ctx, task)
				if err != nil || out.State != jobs.StateSucceeded || string(out.Value) != strconv.Itoa(i) || out.Attempt != 1 {
					t.Errorf("task %d: %+v, %v", i, out, err)
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(begin))
				if out.Delivery != 1 {
					again++
				}
			})
		}
	})

	pace := least / (2*fleet + 1)
	for round := range 2 {
		for i, old := range workers {
			pause(t, pace)
			if round == 0 { // the new one comes first, as where there is room for one more
				workers[i] = fresh()
			}
			old.signal(t, syscall.SIGTERM)
			if code := old.wait(t, patience); code != 0 {
				t.Errorf("worker %d, round %d: exit %d", i, round, code)
			}
			if round == 1 {
				workers[i] = fresh()
			}
		}
	}
	close(deployed)
	load.Wait()

	if n := simKey(t, rdb, "n"); n != created || created < int(least.Seconds())*rate/2 {
		t.Errorf("%d tasks ran %d times", created, n)
	}
	p99 := quantile(took, 0.99)
	figure(t, "deploy", map[string]any{"tasks": created, "replaced": 2 * fleet, "delivered_again": again,
		"p50_ms": millis(quantile(took, 0.5)), "p99_ms": millis(p99), "max_ms": millis(quantile(took, 1))})
	if inFull() && p99 >= time.Second {
		t.Errorf("99 %% took up to %v, want less than a second", p99)
	}
	healthy(t, s)
}
