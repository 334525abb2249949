package integration

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
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
		victim := kill % fleet
		held := func() (held []*jobs.Task[json.RawMessage]) {
			for _, task := range list {
				if in := inspect(t, task); in.State == jobs.StateRunning && workers[victim].of(in.Worker) {
					held = append(held, task)
				}
			}
			return held
		}
		eventually(t, "tasks running in the victim's hands", func() bool { return len(held()) >= 3 })
		lost := held()
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
		t.Logf("kill %d: %d tasks run again after at most %v", kill+1, len(lost), slowest)
		for _, task := range list {
			if _, err := jobs.Cancel(t.Context(), task, "measured"); err != nil {
				t.Fatal(err)
			}
		}
		workers[victim] = worker(t, s, "--concurrency", fmt.Sprint(slots))
	}
	slices.Sort(all)
	t.Logf("%d kills, %d tasks: running again after p50 %v, p99 %v, at most %v", kills, len(all),
		all[len(all)/2], all[min(len(all)*99/100, len(all)-1)], all[len(all)-1])
}
