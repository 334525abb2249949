package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// figure keeps what a test has measured: a line of JSON in a file of that name below GATHERQ_FIGURES, and in the test's log. Where that
// variable is not set, only the log has it.
func figure(t *testing.T, name string, fields map[string]any) {
	t.Helper()
	fields["commit"] = commit()
	fields["test"], fields["at"], fields["cores"], fields["race"] = t.Name(), time.Now().UTC().Format(time.RFC3339), runtime.NumCPU(), underRace
	if load, err := os.ReadFile("/proc/loadavg"); err == nil { // what else the machine did
		fields["load"], _, _ = strings.Cut(string(load), " ")
	}
	line, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s: %s", name, line)
	dir := os.Getenv("GATHERQ_FIGURES")
	if dir == "" {
		return
	}
	f, err := os.OpenFile(filepath.Join(dir, name+".jsonl"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
}

// commit is what was measured, as git names it, with a + where files differ from that. Results and documents may: they change with the first
// figure that is kept. It is empty where there is no git or no repository: a test program has no build information of it.
var commit = sync.OnceValue(func() string {
	head, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return ""
	}
	changed, err := exec.Command("git", "status", "--porcelain", "--", ":/", ":(top,exclude)integration/results", ":(top,exclude)docs").Output()
	if err != nil {
		return ""
	}
	name := strings.TrimSpace(string(head))
	if len(changed) > 0 {
		name += "+"
	}
	return name
})

// quantile is the smallest of the values that p of all do not exceed, 0 where there are none.
func quantile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(p*float64(len(sorted))), len(sorted)-1)]
}

// millis is a duration as figures have it.
func millis(d time.Duration) int64 { return d.Milliseconds() }

// inFull reports whether a test is to run at the length that its figures are taken at.
func inFull() bool { return os.Getenv("GATHERQ_LONG") != "" }
