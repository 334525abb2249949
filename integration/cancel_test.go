package integration

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
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
