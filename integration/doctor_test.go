package integration

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/doctor"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// healthy is the end state of every fault test: the doctor finds nothing, at the latest when what the fleet repairs is repaired. A
// worker must live.
func healthy(t *testing.T, s *redistest.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var report doctor.Report
	rdb := s.Universal(t)
	for {
		r, err := doctor.Examine(ctx, doctor.Config{Redis: rdb, Namespace: "gatherq", Again: 2 * time.Second})
		if err == nil && len(r.Findings) == 0 {
			return
		}
		if err == nil {
			report = r
		}
		if ctx.Err() != nil {
			for _, f := range report.Findings {
				t.Errorf("the doctor finds %s: %s: %s", f.Kind, f.Subject, f.Detail)
			}
			t.Fatalf("the namespace is not healthy: %v", err)
		}
	}
}

// Under load the doctor has nothing to say, and nothing when all is quiet: with retries, delays, cancels, gathers, links, and what is
// left of them.
func TestDecision34_AHealthyNamespaceHasNoFindings(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		c := client(t, s, jobs.ClientConfig{})
		worker(t, s, "--concurrency", "8")
		worker(t, s, "--concurrency", "8")
		calls := make([]jobs.Call[json.RawMessage], 300)
		for i := range calls {
			calls[i] = sim.Call(steps(`{"sleep_ms":%d},{"fail_until_attempt":%d},{"return":%d}`, i%40, 1+i%2, i), jobs.Retries(2), jobs.Backoff(time.Millisecond, 50*time.Millisecond))
		}
		list, err := jobs.CreateTasks(t.Context(), c, calls[:150])
		if err != nil {
			t.Fatal(err)
		}
		group, err := jobs.Gather(t.Context(), c, calls[150:])
		if err != nil {
			t.Fatal(err)
		}
		cancelled, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"sleep_ms":60000}`)))
		if err != nil {
			t.Fatal(err)
		}
		later, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"return":1}`), jobs.Delay(time.Hour)))
		if err != nil {
			t.Fatal(err)
		}
		nested, err := jobs.Gather(t.Context(), c, []jobs.Member[json.RawMessage]{list[0], list[1], sim.Call(steps(`{"return":1}`))})
		if err != nil {
			t.Fatal(err)
		}
		r, err := doctor.Examine(t.Context(), doctor.Config{Redis: s.Client(t), Namespace: "gatherq", Again: 2 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			t.Errorf("under load: %s: %s: %s", f.Kind, f.Subject, f.Detail)
		}
		for _, ref := range []jobs.Ref{cancelled, later} {
			if _, err := jobs.Cancel(t.Context(), ref, "no longer wanted"); err != nil {
				t.Fatal(err)
			}
		}
		for _, ref := range []jobs.Ref{group, nested} {
			eventually(t, "end of "+ref.ID(), func() bool { return inspect(t, ref).State.Final() })
		}
		for _, task := range list {
			eventually(t, "end of "+task.ID(), func() bool { return inspect(t, task).State.Final() })
		}
		healthy(t, s)
		p := start(t, s, "producer", "", "doctor", "--json", "--again", "1s")
		if code := p.wait(t, patience); code != 0 || !strings.Contains(p.stdout.String(), `"healthy":true`) {
			t.Errorf("producer doctor: exit %d, %s%s", code, p.stdout.String(), p.stderr.String())
		}
	})
}
