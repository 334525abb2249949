package integration

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// A cancel ends what has not started at once, tells what runs, and its reason is what awaiters see.
func TestCancelInEveryState(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		rdb := s.Client(t)
		worker(t, s)
		sim := func(steps string, flags ...string) string {
			return produce(t, s, 0, append([]string{"create", "sim", steps}, flags...)...)
		}
		ids := map[string]string{
			"pending":  sim(`{"steps":[{"incr":"never"}]}`, "--queue", "unserved"),
			"delayed":  sim(`{"steps":[{"incr":"never"}]}`, "--in", "1h"),
			"retrying": sim(`{"steps":[{"incr":"once"},{"raise":"again"}]}`, "--retries", "5", "--backoff", "24h"),
			"running":  sim(`{"steps":[{"incr":"running"},{"sleep_ms":600000}]}`),
			"cleaning": sim(`{"steps":[{"incr":"running"},{"sleep_ms":600000}],"on_cancel":{"sleep_ms":300}}`),
		}
		eventually(t, "running tasks", func() bool { return simKey(t, rdb, "running") == 2 && simKey(t, rdb, "once") == 1 })
		eventually(t, "a task in its backoff", func() bool {
			return jsonField(t, produce(t, s, 0, "status", "--json", ids["retrying"]), "state") == "retrying"
		})
		for state, id := range ids {
			begin := time.Now()
			produce(t, s, 0, "cancel", id, "--reason", "no longer wanted", "--wait")
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("%s: a cancel took %v", state, took)
			}
			line := parseLine(t, produce(t, s, 3, "await", "--json", id))
			if line.State != "cancelled" || line.Error == nil || line.Error.Kind != "cancelled" || !strings.Contains(line.Error.Message, "no longer wanted") {
				t.Errorf("%s: %+v %+v", state, line, line.Error)
			}
		}
		// What cleans up with a value has that value.
		kept := sim(`{"steps":[{"incr":"kept"},{"sleep_ms":600000}],"on_cancel":{"return":"kept"}}`)
		eventually(t, "a running task", func() bool { return simKey(t, rdb, "kept") == 1 })
		produce(t, s, 0, "cancel", kept)
		if got := produce(t, s, 0, "await", kept); got != `"kept"` {
			t.Errorf("await printed %s", got)
		}
		if n := simKey(t, rdb, "never"); n != 0 {
			t.Errorf("cancelled tasks ran %d times", n)
		}
	})
}

// While nobody can subscribe, cancels come with the beats: what runs and what waits ends as cancelled and never runs
// again, what has ended stays as it is.
func TestDecision11_CancelsArriveWithoutNotices(t *testing.T) {
	t.Parallel()
	const each = 6
	s := redistest.Local(t)
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
	workers := []*program{worker(t, s, "--concurrency", "16"), worker(t, s, "--concurrency", "16")}
	create := func(program string, opts ...jobs.CallOption) (list []*jobs.Task[json.RawMessage]) {
		t.Helper()
		for range each {
			task, err := jobs.CreateTask(t.Context(), c, sim.Call(steps("%s", program), opts...))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, task)
		}
		return list
	}
	finished := create(`{"incr":"ran"},{"return":"kept"}`)
	for _, task := range finished {
		if v, err := await.Result(t.Context(), task); err != nil || string(v) != `"kept"` {
			t.Fatal(string(v), err)
		}
	}
	pending := create(`{"incr":"ran"}`, jobs.Queue("later"))
	active := create(`{"incr":"ran"},{"sleep_ms":600000}`)
	group, err := jobs.Gather(t.Context(), c, sim.Calls(steps(`{"incr":"ran"},{"sleep_ms":600000}`), steps(`{"incr":"ran"},{"sleep_ms":600000}`)))
	if err != nil {
		t.Fatal(err)
	}
	const ran = 2*each + 2
	eventually(t, "all that is to run", func() bool { return simKey(t, rdb, "ran") == ran })

	over := silence(t, rdb)
	open := []jobs.Ref{group}
	for _, task := range append(slices.Clone(pending), active...) {
		open = append(open, task)
	}
	for _, ref := range open {
		if accepted, err := jobs.Cancel(t.Context(), ref, "no longer wanted"); err != nil || !accepted {
			t.Errorf("%s: %v, %v", ref.ID(), accepted, err)
		}
	}
	for _, task := range finished {
		if accepted, err := jobs.Cancel(t.Context(), task, "too late"); err != nil || accepted {
			t.Errorf("what has ended: %v, %v", accepted, err)
		}
	}
	for _, ref := range open {
		eventually(t, "a cancel that has arrived", func() bool { return inspect(t, ref).State == jobs.StateCancelled })
	}
	lost := 0.0
	for _, w := range workers {
		lost += w.metric(t, `gatherq_notices_lost_total{kind="cancel"}`)
	}
	if lost != each+2 {
		t.Errorf("%v of %d running tasks heard of it by a beat", lost, each+2)
	}
	over()

	worker(t, s, "--queues", "later,default")
	for _, queue := range []string{"later", "default"} { // whatever was delivered again stands before it
		if got := produce(t, s, 0, "create", "sim", `{"steps":[{"return":"behind"}]}`, "--queue", queue, "--await"); got != `"behind"` {
			t.Errorf("%s: %s", queue, got)
		}
	}
	for _, task := range finished {
		if v, err := await.Result(t.Context(), task); err != nil || string(v) != `"kept"` {
			t.Errorf("what had ended: %s, %v", v, err)
		}
	}
	for _, ref := range open {
		if in := inspect(t, ref); in.State != jobs.StateCancelled {
			t.Errorf("%s is %s", ref.ID(), in.State)
		}
	}
	if n := simKey(t, rdb, "ran"); n != ran {
		t.Errorf("%d executions, want %d", n, ran)
	}
	nobodyDied(t, "unheard", workers, map[string]any{"cancelled": len(open), "by_beats": lost})
	healthy(t, s)
}

// silence ends all subscriptions, and refuses new ones until over is called.
func silence(t *testing.T, rdb *redis.Client) (over func()) {
	t.Helper()
	do(t, rdb, "acl", "setuser", "default", "-subscribe")
	do(t, rdb, "client", "kill", "type", "pubsub")
	return func() { do(t, rdb, "acl", "setuser", "default", "+subscribe") }
}

func TestTheEndOfAnAwaiterLeavesTheWork(t *testing.T) {
	t.Parallel()
	s := redistest.Any(t)
	rdb := s.Client(t)
	worker(t, s)
	const slow = `{"steps":[{"incr":"slow"},{"sleep_ms":3000},{"return":"done"}]}`

	p := start(t, s, "producer", "", "create", "sim", slow, "--await", "--await-timeout", "300ms", "--id", "timed")
	if code := p.wait(t, patience); code != 124 {
		t.Errorf("a time-out exits with %d, want 124: %s", code, p.stderr.String())
	}
	p = start(t, s, "producer", "", "create", "sim", slow, "--await", "--id", "interrupted")
	eventually(t, "both tasks", func() bool { return simKey(t, rdb, "slow") == 2 })
	p.signal(t, syscall.SIGINT)
	if code := p.wait(t, patience); code != 130 {
		t.Errorf("an interrupt exits with %d, want 130: %s", code, p.stderr.String())
	}
	lines := strings.Split(strings.TrimSpace(p.stderr.String()), "\n")
	if last := lines[len(lines)-1]; !strings.Contains(last, "await") || !strings.Contains(last, "interrupted") {
		t.Errorf("the last line says not how to go on: %s", last)
	}
	for _, id := range []string{"timed", "interrupted"} {
		if got := produce(t, s, 0, "await", id); got != `"done"` {
			t.Errorf("%s: await printed %s", id, got)
		}
	}

	group := start(t, s, "producer", `{"steps":[{"raise":"first"}]}`+"\n"+`{"steps":[{"sleep_ms":1000},{"incr":"second"}]}`, "gather", "sim", "-", "--await")
	if code := group.wait(t, patience); code != 1 || !strings.Contains(group.stdout.String()+group.stderr.String(), "first") {
		t.Errorf("a failed gather: exit %d, %s%s", code, group.stdout.String(), group.stderr.String())
	}
	eventually(t, "member that runs on", func() bool { return simKey(t, rdb, "second") == 1 })
}
