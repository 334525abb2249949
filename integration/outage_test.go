package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// asleep starts three workers, each with that many slots to spare, and 30 tasks of 20 s in them that have counted their run in n.
func asleep(t *testing.T, s *redistest.Server, c *jobs.Client, spare int) (workers []*program, list []*jobs.Task[json.RawMessage]) {
	t.Helper()
	for range 3 {
		workers = append(workers, worker(t, s, "--concurrency", fmt.Sprint(15+spare)))
	}
	for i := range 30 {
		task, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"incr":"n"},{"sleep_ms":20000},{"return":%d}`, i)))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, task)
	}
	rdb := s.Client(t)
	eventually(t, "all started", func() bool { return simKey(t, rdb, "n") == len(list) })
	return workers, list
}

// Nothing that silences everybody is anybody's death: an outage of Redis, a stop that is short, a machine without a free core.
func TestDecision01_AnOutageIsNobodysDeath(t *testing.T) {
	t.Parallel()
	outage(t, 0)
}

// The same while 128 handlers in each worker burn all the cores there are, from before the first fault until after the last.
func TestDecision01_AnOutageOfABusyFleetIsNobodysDeath(t *testing.T) {
	long(t) // alone: nobody else gets a core meanwhile
	outage(t, 128)
}

// outage silences Redis, stops it, and stops a worker, one after the other, while as many handlers of each worker are busy.
func outage(t *testing.T, busy int) {
	t.Helper()
	s := redistest.Local(t)
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
	workers, list := asleep(t, s, c, busy)
	var burning []*jobs.Task[json.RawMessage]
	if busy > 0 {
		calls := make([]jobs.Call[json.RawMessage], busy*len(workers))
		for i := range calls {
			calls[i] = sim.Call(steps(`{"incr":"busy"},{"busy_ms":30000},{"return":%d}`, i))
		}
		var err error
		if burning, err = jobs.CreateTasks(t.Context(), c, calls); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all busy", func() bool { return simKey(t, rdb, "busy") == len(calls) })
	}
	if err := rdb.Do(t.Context(), "client", "pause", 8000, "all").Err(); err != nil {
		t.Fatal(err)
	}
	pause(t, 9500*time.Millisecond)
	s.Pause(t)
	pause(t, 5*time.Second)
	s.Resume(t)
	pause(t, 1500*time.Millisecond)
	workers[0].signal(t, syscall.SIGSTOP)
	pause(t, 2*time.Second)
	workers[0].signal(t, syscall.SIGCONT)
	once(t, c, list)
	once(t, c, burning)
	if n := simKey(t, rdb, "n"); n != len(list) {
		t.Errorf("%d tasks ran %d times", len(list), n)
	}
	if busy > 0 && simKey(t, rdb, "busy") != len(burning) {
		t.Errorf("%d busy tasks ran %d times", len(burning), simKey(t, rdb, "busy"))
	}
	nobodyDied(t, "outage", workers, map[string]any{"tasks": len(list), "executions": simKey(t, rdb, "n"), "busy": len(burning), "client_pause_ms": 8000, "redis_stopped_ms": 5000, "worker_stopped_ms": 2000})
	healthy(t, s)
}

// repaired sums what workers count of a kind of repair.
func repaired(t *testing.T, workers []*program, kind string) (n float64) {
	t.Helper()
	for _, w := range workers {
		n += w.metric(t, `gatherq_repairs_total{kind="`+kind+`"}`)
	}
	return n
}

// nobodyDied wants that no worker has taken another for dead, and keeps what was measured.
func nobodyDied(t *testing.T, name string, workers []*program, fields map[string]any) {
	t.Helper()
	dead := repaired(t, workers, "dead_worker")
	if dead != 0 {
		t.Errorf("%v workers were declared dead", dead)
	}
	fields["workers"], fields["declared_dead"] = len(workers), dead
	figure(t, name, fields)
}

// Redis stops for 3, 10 and 30 s, in the middle of tasks of 20 s.
func TestDecision01_AStoppedRedisIsNobodysDeath(t *testing.T) {
	t.Parallel()
	long(t) // the short form is the outage above
	for _, stop := range []time.Duration{3 * time.Second, 10 * time.Second, 30 * time.Second} {
		t.Run(stop.String(), func(t *testing.T) {
			s := redistest.Local(t)
			rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
			workers, list := asleep(t, s, c, 0)
			s.Pause(t)
			pause(t, stop)
			s.Resume(t)
			crashes := 0
			once(t, c, list)
			for _, task := range list {
				crashes += inspect(t, task).Crashes
			}
			n := simKey(t, rdb, "n")
			if n != len(list) || crashes != 0 {
				t.Errorf("%d tasks ran %d times, with %d crashes charged", len(list), n, crashes)
			}
			nobodyDied(t, "redis-stopped", workers, map[string]any{"tasks": len(list), "executions": n, "crashes": crashes, "stopped_ms": millis(stop)})
			healthy(t, s)
		})
	}
}

// once wants each task to end with its number, in its first delivery.
func once(t *testing.T, c *jobs.Client, list []*jobs.Task[json.RawMessage]) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	for i, task := range list {
		out, err := await.Outcome(ctx, task)
		if err != nil {
			t.Fatal(err)
		}
		if string(out.Value) != fmt.Sprint(i) || out.Delivery != 1 || out.Attempt != 1 {
			t.Errorf("task %d: %+v", i, out)
		}
	}
}

// Handlers that burn all the cores there are keep workers from their beats. GATHERQ_BUSY says for how long, 8s where it is not set.
func TestDecision01_ABusyMachineIsNobodysDeath(t *testing.T) {
	busy := 8 * time.Second
	if d, err := time.ParseDuration(os.Getenv("GATHERQ_BUSY")); err == nil {
		busy = d
	}
	s := redistest.Local(t)
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
	const fleet, slots = 3, 128
	var workers []*program
	for range fleet {
		workers = append(workers, worker(t, s, "--concurrency", fmt.Sprint(slots)))
	}
	calls := make([]jobs.Call[json.RawMessage], fleet*slots)
	for i := range calls {
		calls[i] = sim.Call(steps(`{"incr":"n"},{"busy_ms":%d},{"return":%d}`, busy.Milliseconds(), i))
	}
	list, err := jobs.CreateTasks(t.Context(), c, calls)
	if err != nil {
		t.Fatal(err)
	}
	once(t, c, list)
	n := simKey(t, rdb, "n")
	if n != fleet*slots {
		t.Errorf("%d tasks ran %d times", fleet*slots, n)
	}
	nobodyDied(t, "busy", workers, map[string]any{"tasks": fleet * slots, "executions": n, "busy_ms": millis(busy)})
	healthy(t, s)
}
