package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/gatherq/gatherq/internal/tasks"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// unstarted returns a worker that has not begun, with the types that are always there.
func unstarted(t *testing.T) *jobs.Worker {
	t.Helper()
	_, rdb, client := redisFor(t)
	w, err := jobs.NewWorker(client, jobs.WorkerConfig{Concurrency: 3})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tasks.Register(w, tasks.Config{Redis: rdb}); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestDecision34_OperationsNamesEveryMetric compares the tables of docs/operations.md with what the registry has.
func TestDecision34_OperationsNamesEveryMetric(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := func(pattern string) (found []string) {
		for _, row := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(doc), -1) {
			found = append(found, strings.Join(row[1:], " "))
		}
		slices.Sort(found)
		return found
	}
	w := unstarted(t)
	have := []string{"gatherq_build_info{version} gauge"}
	var kinds []string
	for _, m := range w.Metrics() {
		name := m.Name
		if m.Label != "" {
			name += "{" + m.Label + "}"
		}
		have = append(have, name+" "+string(m.Kind))
		for _, s := range m.Samples {
			if m.Name == "gatherq_repairs_total" {
				kinds = append(kinds, s.Label)
			} else if m.Label != "type" && s.Label != "" && !strings.Contains(string(doc), "`"+s.Label+"`") {
				t.Errorf("docs/operations.md does not say what %s of %s is", s.Label, m.Name)
			}
		}
	}
	slices.Sort(have)
	slices.Sort(kinds)
	if got := rows("(?m)^\\| `(gatherq_[^`]*)` \\| (\\w+) \\| .+ \\|.*\\|$"); !slices.Equal(got, have) {
		t.Errorf("docs/operations.md has\n%s\nthe registry has\n%s", strings.Join(got, "\n"), strings.Join(have, "\n"))
	}
	_, repairs, _ := strings.Cut(string(doc), "### Repairs")
	doc = []byte(repairs)
	if got := rows("(?m)^\\| `([a-z_]+)` \\| .+ \\| .+ \\|$"); !slices.Equal(got, kinds) {
		t.Errorf("docs/operations.md has the repairs\n%q, counted are\n%q", got, kinds)
	}

	// What stands in the registry goes by the rules of Prometheus.
	families, err := newRegistry(w).Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "gatherq_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// A fleet's rates are true only where a counter that has not counted yet is there, with 0.
func TestMetricsAreThereBeforeTheyCount(t *testing.T) {
	w := unstarted(t)
	answer := httptest.NewRecorder()
	exposition(w).ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", http.NoBody))
	text := answer.Body.String()
	if answer.Code != http.StatusOK {
		t.Fatalf("%d %s", answer.Code, text)
	}
	for _, line := range []string{
		"gatherq_slots 3", "gatherq_slots_free 3", `gatherq_tasks_ended_total{state="crash_loop"} 0`, `gatherq_tasks_ended_total{state="succeeded"} 0`,
		`gatherq_repairs_total{kind="outbox_late"} 0`, `gatherq_deliveries_dropped_total{reason="stale"} 0`, `gatherq_notices_lost_total{kind="cancel"} 0`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}
