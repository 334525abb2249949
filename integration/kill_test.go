package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// sim is the task type of the worker program that plays a program of steps.
var sim = jobs.Define[json.RawMessage, json.RawMessage]("sim")

// steps is a program of the sim type.
func steps(format string, args ...any) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"steps":[`+format+`]}`, args...))
}

// of reports whether a worker's ID is that of a process.
func (p *program) of(worker string) bool {
	return strings.Contains(worker, fmt.Sprintf("-%d-", p.cmd.Process.Pid))
}

// inspect looks at a task until Redis answers.
func inspect(t *testing.T, ref jobs.Ref) jobs.Info {
	t.Helper()
	in, err := jobs.Inspect(t.Context(), ref)
	if err != nil {
		t.Fatalf("%s: %v", ref.ID(), err)
	}
	return in
}

// TestDecision01_RecoveryAfterKill kills workers with kill -9 while each runs long tasks, and prints how long it took until what
// they had held ran again elsewhere, by Redis' clock. GATHERQ_KILLS says how often, 2 times where it is not set.
func TestDecision01_RecoveryAfterKill(t *testing.T) {
	t.Parallel()
	kills := 2
	if n, err := strconv.Atoi(os.Getenv("GATHERQ_KILLS")); err == nil {
		kills = n
	}
	s := redistest.Local(t)
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
	const fleet, slots, tasks = 3, 30, 30
	var workers []*program
	for range fleet {
		workers = append(workers, worker(t, s, "--concurrency", fmt.Sprint(slots)))
	}
	var all []time.Duration
	for kill := range kills {
		list := make([]*jobs.Task[json.RawMessage], tasks)
		for i := range list {
			var err error
			if list[i], err = jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"sleep_ms":20000}`))); err != nil {
				t.Fatal(err)
			}
		}
		held := make([][]*jobs.Task[json.RawMessage], fleet)
		eventually(t, "tasks that all run", func() bool {
			running := 0
			held = make([][]*jobs.Task[json.RawMessage], fleet)
			for _, task := range list {
				in := inspect(t, task)
				for i, w := range workers {
					if in.State == jobs.StateRunning && w.of(in.Worker) {
						held[i] = append(held[i], task)
						running++
					}
				}
			}
			return running == tasks
		})
		victim := 0 // who has most of them: how they spread is nobody's promise
		for i := range held {
			if len(held[i]) > len(held[victim]) {
				victim = i
			}
		}
		lost := held[victim]
		workers[victim].kill(t)
		at, err := rdb.Time(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		var slowest time.Duration
		for _, task := range lost {
			var in jobs.Info
			eventually(t, "another worker that runs "+task.ID(), func() bool {
				in = inspect(t, task)
				return in.State == jobs.StateRunning && !workers[victim].of(in.Worker)
			})
			if in.Attempt != 1 || in.Crashes != 1 || in.Delivery < 2 {
				t.Errorf("%s runs again: %+v", task.ID(), in)
			}
			took := in.StartedAt.Sub(at)
			all, slowest = append(all, took), max(slowest, took)
		}
		figure(t, "recovery-kills", map[string]any{"kill": kill + 1, "tasks": len(lost), "slowest_ms": millis(slowest)})
		for _, task := range list {
			if _, err := jobs.Cancel(t.Context(), task, "measured"); err != nil {
				t.Fatal(err)
			}
		}
		workers[victim] = worker(t, s, "--concurrency", fmt.Sprint(slots))
	}
	healthy(t, s)
	p50, p99 := quantile(all, 0.5), quantile(all, 0.99)
	figure(t, "recovery", map[string]any{"kills": kills, "tasks": len(all), "p50_ms": millis(p50), "p99_ms": millis(p99), "max_ms": millis(quantile(all, 1))})
	if inFull() && (p50 > 5*time.Second || p99 > 10*time.Second) {
		t.Errorf("tasks ran again after p50 %v, p99 %v; the limits are 5 s and 10 s", p50, p99)
	}
}

// Whatever a worker has in hand when it is killed (tasks, ranges, tickets), it ends with the right value elsewhere, and no attempt
// is charged.
func TestDecision01_WhatAKilledWorkerHeldEndsElsewhere(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		const members, singles = 300, 20
		rdb := s.Client(t)
		victim := worker(t, s, "--concurrency", "20")
		survivors := []*program{worker(t, s, "--concurrency", "20"), worker(t, s, "--concurrency", "20")}

		var in strings.Builder
		for i := range members {
			fmt.Fprintf(&in, `{"steps":[{"incr":"n"},{"sleep_ms":300},{"return":%d}]}`+"\n", i)
		}
		var ids []string
		for i := range singles {
			ids = append(ids, produce(t, s, 0, "create", "sim", fmt.Sprintf(`{"steps":[{"incr":"n"},{"sleep_ms":2000},{"return":%d}]}`, i)))
		}
		group := produceFrom(t, s, 0, in.String(), "gather", "sim", "-")
		eventually(t, "a third of the members started", func() bool { return simKey(t, rdb, "n") >= singles+members/3 })
		victim.kill(t)

		lines := parseLines(t, produce(t, s, 0, "await", "--json", group))
		if len(lines) != members {
			t.Fatalf("%d results, want %d", len(lines), members)
		}
		deliveries := 0
		for i, line := range lines {
			deliveries += line.Delivery
			if line.Index != i || string(line.Value) != fmt.Sprint(i) || line.Attempt != 1 {
				t.Errorf("member %d: %+v", i, line)
			}
		}
		for i, line := range parseLines(t, produce(t, s, 0, append([]string{"await", "--json"}, ids...)...)) {
			deliveries += line.Delivery
			if string(line.Value) != fmt.Sprint(i) || line.Attempt != 1 {
				t.Errorf("task %d: %+v", i, line)
			}
		}
		if n := simKey(t, rdb, "n"); n < members+singles || n > deliveries {
			t.Errorf("%d tasks in %d deliveries ran %d times", members+singles, deliveries, n)
		}
		var dead, taken float64
		for _, w := range survivors {
			dead += w.metric(t, `gatherq_repairs_total{kind="dead_worker"}`)
			taken += w.metric(t, `gatherq_repairs_total{kind="dead_holding"}`)
		}
		if dead < 1 || taken < 1 {
			t.Errorf("the survivors counted %v dead workers and %v things taken from them", dead, taken)
		}
		eventually(t, "the dead one is buried", func() bool {
			for _, key := range allKeys(t, rdb) {
				if victim.of(key) {
					return false
				}
			}
			return true
		})
		healthy(t, s)
	})
}

// The last worker dies, and the one that comes after it finds what it had: all of it, which takes 1.5 s, has ended within 10 s.
func TestDecision01_TheLastWorkerDiesAndAnotherComes(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		rdb := s.Client(t)
		last := worker(t, s)
		id := produceFrom(t, s, 0, strings.Repeat(`{"steps":[{"incr":"n"},{"sleep_ms":1500},{"return":"$delivery"}]}`+"\n", 8), "gather", "sim", "-")
		eventually(t, "all started", func() bool { return simKey(t, rdb, "n") == 8 })
		last.kill(t)
		begin := time.Now()
		worker(t, s)
		for _, line := range parseLines(t, produce(t, s, 0, "await", "--json", id)) {
			if line.Attempt != 1 || string(line.Value) != fmt.Sprint(line.Delivery) || line.Delivery < 2 {
				t.Errorf("%+v", line)
			}
		}
		took := time.Since(begin)
		figure(t, "last-worker", map[string]any{"tasks": 8, "ended_ms": millis(took)})
		if inFull() && took > 10*time.Second {
			t.Errorf("all had ended %v after the new worker was started", took)
		}
		healthy(t, s)
	})
}

// A worker that drains charges nothing when it is killed over it.
func TestDecision05_ADrainThatIsKilledChargesNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Any(t)
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
	drains := worker(t, s)
	task, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"incr":"n"},{"sleep_ms":5000}`)))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "it started", func() bool { return simKey(t, rdb, "n") == 1 })
	worker(t, s)
	drains.signal(t, syscall.SIGTERM)
	eventually(t, "a beat that says so", func() bool {
		for _, key := range allKeys(t, rdb) {
			if drains.of(key) && strings.Contains(key, "}:w:") && rdb.HGet(t.Context(), key, "draining").Val() == "1" {
				return true
			}
		}
		return false
	})
	drains.kill(t)
	eventually(t, "it runs elsewhere", func() bool { return simKey(t, rdb, "n") == 2 })
	if in := inspect(t, task); in.Crashes != 0 || in.Attempt != 1 {
		t.Errorf("%+v", in)
	}
	healthy(t, s)
}

// A worker that was stopped, declared dead and goes on writes nothing any more; its handlers end, its death is undone, and it
// takes work again.
func TestDecision02_AZombieWritesNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Any(t)
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
	zombie := worker(t, s, "--queues", "default=1,its-own=1", "--concurrency", "8")
	var tasks []*jobs.Task[json.RawMessage]
	for _, program := range []string{
		`{"incr":"n"},{"sleep_ms":20000},{"return":"$delivery"}`,         // ends by itself
		`{"incr":"n"},{"ignore_cancel_ms":20000},{"return":"$delivery"}`, // whatever becomes of its context
		`{"incr":"n"},{"sleep_ms":20000},{"raise":"from the dead","retry":false}`,
	} {
		task, err := jobs.CreateTask(t.Context(), c, sim.Call(steps("%s", program)))
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, task)
	}
	group, err := jobs.Gather(t.Context(), c, sim.Calls(steps(`{"incr":"n"},{"sleep_ms":20000},{"return":"$delivery"}`), steps(`{"incr":"n"},{"sleep_ms":20000},{"return":"$delivery"}`)))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "all started", func() bool { return simKey(t, rdb, "n") == 5 })
	zombie.signal(t, syscall.SIGSTOP)
	worker(t, s, "--concurrency", "8")
	eventually(t, "all started elsewhere", func() bool { return simKey(t, rdb, "n") == 10 })
	if in := inspect(t, tasks[0]); in.Crashes != 1 || in.Delivery != 2 {
		t.Errorf("while it is taken for dead: %+v", in)
	}
	zombie.signal(t, syscall.SIGCONT)
	eventually(t, "its death is undone", func() bool { return inspect(t, tasks[0]).Crashes == 0 })
	if !strings.Contains(zombie.stderr.String(), "declared dead") {
		t.Errorf("it does not say that it had been declared dead: %s", zombie.stderr.String())
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	own, err := jobs.CreateTask(ctx, c, sim.Call(steps(`{"return":"again"}`), jobs.Queue("its-own")))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := await.Result(ctx, own); err != nil || string(v) != `"again"` {
		t.Errorf("it takes no work any more: %s %v", v, err)
	}
	for i, task := range tasks {
		out, err := await.Outcome(ctx, task)
		if err != nil {
			t.Fatal(err)
		}
		wrong := out.State != jobs.StateSucceeded || string(out.Value) != "2"
		if i == 2 {
			wrong = out.State != jobs.StateFailed
		}
		if wrong || zombie.of(out.Worker) || out.Delivery != 2 || out.Attempt != 1 {
			t.Errorf("task %d: %+v", i, out)
		}
	}
	outs, err := await.Settled(ctx, group)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range outs {
		if string(out.Value) != "2" || out.Attempt != 1 || zombie.of(out.Worker) {
			t.Errorf("member %d: %+v", out.Index, out)
		}
	}
	if n := simKey(t, rdb, "n"); n != 10 {
		t.Errorf("they ran %d times, want twice each", n)
	}
	if undone, fenced := zombie.metric(t, `gatherq_repairs_total{kind="death_undone"}`), zombie.metric(t, "gatherq_fenced_total"); undone != 1 || fenced < 5 {
		t.Errorf("the zombie counted %v deaths undone and %v ends refused, want 1 and one for each task", undone, fenced)
	}
	healthy(t, s)
}

// One member of a gather kills every worker that runs it, and the only worker is started again each time: that member ends, and
// no other comes to harm.
func TestDecision05_APoisonTaskEndsAlone(t *testing.T) {
	t.Parallel()
	const members, poison = 200, 77
	for _, warm := range []bool{false, true} { // warm: the worker knows how short they are, and takes the poison in the middle of a large range
		t.Run(map[bool]string{false: "ranges of one", true: "within one range"}[warm], func(t *testing.T) {
			t.Parallel()
			s := redistest.Any(t)
			rdb := s.Client(t)
			restart := func() *program { return worker(t, s, "--concurrency", "8") }
			loop := restart()
			if warm {
				produceFrom(t, s, 0, strings.Repeat(`{"steps":[{"return":0}]}`+"\n", 2000), "gather", "sim", "-", "--await")
			}
			var in strings.Builder
			for i := range members {
				if i == poison {
					in.WriteString(`{"steps":[{"incr":"poison"},{"exit":1}]}` + "\n")
				} else {
					fmt.Fprintf(&in, `{"steps":[{"incr":"n"},{"return":%d}]}`+"\n", i)
				}
			}
			p := start(t, s, "producer", in.String(), "gather", "sim", "-", "--await", "--return-errors", "--json")
			deaths := 0
			for done := false; !done; {
				select {
				case <-p.exited:
					done = true
				case <-loop.exited:
					deaths++
					loop = restart()
				case <-time.After(2 * patience):
					t.Fatalf("it does not end; %d deaths", deaths)
				}
			}
			lines := parseLines(t, p.stdout.String())
			if len(lines) != members {
				t.Fatalf("%d results: %s", len(lines), p.stderr.String())
			}
			again := 0
			for i, line := range lines {
				if line.Delivery > 1 {
					again++
				}
				switch {
				case i == poison:
					if line.State != "crash_loop" || line.Error == nil || line.Error.Kind != "crash_loop" || line.Attempt != 1 {
						t.Errorf("the poison: %+v", line)
					}
				case line.State != "succeeded" || string(line.Value) != fmt.Sprint(i) || line.Attempt != 1:
					t.Errorf("member %d: %+v", i, line)
				}
			}
			if n := simKey(t, rdb, "poison"); n != 3 || deaths != 3 {
				t.Errorf("the poison ran %d times in %d deaths, want 3", n, deaths)
			}
			if n := loop.metric(t, `gatherq_tasks_ended_total{state="crash_loop"}`); n != 1 {
				t.Errorf("the last worker counted %v crash loops", n)
			}
			healthy(t, s)
			if warm && again <= 8 {
				t.Errorf("%d members were delivered more than once: the poison was in no large range", again)
			}
			t.Logf("%d executions of %d harmless members; %d were delivered more than once", simKey(t, rdb, "n"), members-1, again)
		})
	}
}
