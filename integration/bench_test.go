package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gatherq/gatherq/bench/report"
	"github.com/gatherq/gatherq/integration/redistest"
)

// children returns the processes that a process has started and that still run.
func children(t *testing.T, parent int) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		if fields := statFields(text); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// statFields returns the fields of /proc/PID/stat behind the name, which may hold anything: the state, the parent, …
func statFields(text []byte) []string {
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

// runs reports whether a process is there and not just waiting to be buried.
func runs(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	fields := statFields(text)
	return len(fields) > 0 && fields[0] != "Z" && fields[0] != "X"
}

// nothingIsLeft waits until the workers of a bench have ended and wants no key of it.
func nothingIsLeft(t *testing.T, s *redistest.Server, workers []int, keys int64) {
	t.Helper()
	for _, pid := range workers {
		eventually(t, fmt.Sprintf("end of worker process %d", pid), func() bool { return !runs(pid) })
	}
	rdb := s.Client(t)
	if n := rdb.DBSize(t.Context()).Val(); n != keys {
		t.Errorf("%d keys are left, want %d: %.500q", n, keys, rdb.Keys(t.Context(), "*").Val())
	}
}

func TestBenchMeasuresAndLeavesNothing(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t)
	file := filepath.Join(t.TempDir(), "samples.json")
	out := produce(t, s, 0, "bench", "--quick", "--only", "ping-pong,gather-10k,idle-alone,stream,awaits", "--json", file)
	run, err := report.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(out, "\n")
	if len(lines) != len(run.Samples) || len(run.Samples) < 9 {
		t.Errorf("%d lines on stdout and %d samples in the file", len(lines), len(run.Samples))
	}
	var workers []int
	for i, line := range lines {
		var sample report.Sample
		if err := json.Unmarshal([]byte(line), &sample); err != nil || i >= len(run.Samples) || sample.Scenario != run.Samples[i].Scenario {
			t.Errorf("line %d is not the sample of the file: %s, %v", i, line, err)
		}
		if len(sample.Workers) == 0 && sample.Scenario != "awaits" {
			t.Errorf("no worker process: %s", line)
		}
		workers = append(workers, sample.Workers...)
	}
	for side, value := range map[string]string{"gatherq": report.PerSecond, "asynq-poll gather": report.RedisCPU} {
		if v := run.Values("gather-10k", side, value); len(v) != 1 || v[0] <= 0 {
			t.Errorf("%s of %s: %v", value, side, v)
		}
	}
	if v := run.Values("stream", "producer gather --await", report.PeakMemory); len(v) != 1 || v[0] < 5 {
		t.Errorf("peak memory of a producer: %v MiB", v)
	}
	if e := run.Environment; e.Redis == "" || e.Cores == 0 || e.AOF != "off" || !run.Settings.Quick {
		t.Errorf("environment %+v, settings %+v", e, run.Settings)
	}
	nothingIsLeft(t, s, workers, 0)
}

func TestBenchPrintsATable(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t)
	out := produce(t, s, 0, "bench", "--quick", "--only", "gather-100k")
	if !strings.Contains(out, "gather of 100,000 / fan-out") || !strings.Contains(out, "too short to mean anything") {
		t.Errorf("stdout:\n%s", out)
	}
}

func TestBenchEndsWithAllItHasStarted(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc to see the processes")
	}
	for name, test := range map[string]struct {
		signal  syscall.Signal
		code    int
		only    string
		workers int
	}{
		// A minute of counting what idle workers send, and a round trip on the way.
		"interrupt":            {syscall.SIGINT, 130, "idle-fleet", 3},
		"interrupt, in rounds": {syscall.SIGINT, 130, "round-trip", 2},
		"terminate":            {syscall.SIGTERM, 130, "idle-fleet", 3},
		"kill":                 {syscall.SIGKILL, -1, "idle-fleet", 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Local(t)
			rdb := s.Client(t)
			p := start(t, s, "producer", "", "bench", "--only", test.only, "--fleet", "3", "--rounds", "100")
			var workers []int
			eventually(t, "working worker processes", func() bool {
				workers = children(t, p.cmd.Process.Pid)
				return len(workers) >= test.workers && rdb.DBSize(t.Context()).Val() > 0
			})
			p.signal(t, test.signal)
			if got := p.wait(t, patience); got != test.code {
				t.Errorf("exit %d, want %d; stderr:\n%s", got, test.code, p.stderr.String())
			}
			if test.signal != syscall.SIGKILL {
				nothingIsLeft(t, s, workers, 0)
				return
			}
			for _, pid := range workers { // after SIGKILL nothing could clean up
				eventually(t, fmt.Sprintf("end of worker process %d", pid), func() bool { return !runs(pid) })
			}
		})
	}
}

func TestBenchFailsWhenAWorkerDies(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/proc/self/stat"); err != nil {
		t.Skip("needs /proc to see the processes")
	}
	s := redistest.Local(t)
	p := start(t, s, "producer", "", "bench", "--only", "idle-fleet", "--fleet", "2")
	var workers []int
	eventually(t, "two idle workers", func() bool {
		workers = children(t, p.cmd.Process.Pid)
		return len(workers) == 2
	})
	if err := syscall.Kill(workers[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if got := p.wait(t, patience); got != 1 || !strings.Contains(p.stderr.String(), "ended early: signal: killed") {
		t.Errorf("exit %d, want 1; stderr:\n%s", got, p.stderr.String())
	}
	nothingIsLeft(t, s, workers, 0)
}

func TestBenchRefuses(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t)
	rdb := s.Client(t)
	refused := func(code int, want string, args ...string) {
		t.Helper()
		p := start(t, s, "producer", "", append([]string{"bench", "--quick", "--only", "ping-pong"}, args...)...)
		if got := p.wait(t, patience); got != code || !strings.Contains(p.stderr.String(), want) || p.stdout.String() != "" {
			t.Errorf("%q: exit %d, want %d; stdout %q, stderr:\n%s", args, got, code, p.stdout.String(), p.stderr.String())
		}
	}
	refused(2, "--redis embedded: it would be measured instead", "--redis", "embedded")
	refused(2, "--rounds 0", "--rounds", "0")
	refused(2, "no measurement", "--only", "nothing")
	refused(2, "too many arguments", "a.json", "b.json")
	refused(2, "no such file", filepath.Join(t.TempDir(), "missing", "a.json"))
	refused(5, "not reachable", "--redis", "redis://127.0.0.1:1")

	keys := make([]any, 0, 2*1001)
	for i := range 1001 {
		keys = append(keys, fmt.Sprint("theirs:", i), 1)
	}
	if err := rdb.MSet(t.Context(), keys...).Err(); err != nil {
		t.Fatal(err)
	}
	refused(2, "1001 keys")
	produce(t, s, 0, "bench", "--quick", "--only", "ping-pong", "--force")
	nothingIsLeft(t, s, nil, 1001)
}
