package report

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// measuredRun is a run in which every figure with a target has three rounds.
func measuredRun() Run {
	run := Run{
		Format: Format, Settings: Settings{Rounds: 3, Members: 1_000_000, Fleet: 20},
		Environment: Environment{
			Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Commit: "abc", Go: "go1.26", OS: "linux", Arch: "amd64", CPU: "a CPU", Cores: 2,
			MemoryMiB: 1024, Redis: "7.0.15", AOF: "off",
		},
	}
	add := func(scenario, side string, n int, values map[string]float64, slope float64) {
		for round := 1; round <= 3; round++ {
			scaled := make(map[string]float64)
			for name, v := range values {
				scaled[name] = v * (1 + slope*float64(round-2))
			}
			run.Samples = append(run.Samples, Sample{Scenario: scenario, Side: side, Round: round, N: n, Workers: []int{42}, Values: scaled})
		}
	}
	timed := func(perSecond float64) map[string]float64 {
		return map[string]float64{PerSecond: perSecond, RedisCPU: 1.5, WorkerCPU: 2.5, OwnCPU: 3.5, P50: 200, P99: 100_000}
	}
	add("round-trip", "ping-pong", 3000, map[string]float64{P50: 100, P99: 200, PerSecond: 5000, RedisCPU: 1, WorkerCPU: 1, OwnCPU: 1}, 0)
	add("round-trip", "gatherq", 3000, map[string]float64{P50: 350, P99: 900, PerSecond: 2000, RedisCPU: 1, WorkerCPU: 1, OwnCPU: 1}, 0.1)
	add("single-256", "asynq-poll single", 20_000, timed(1000), 0)
	add("single-256", "gatherq", 20_000, timed(7000), 0)
	add("gather-100k", "fan-out", 100_000, timed(200_000), 0)
	add("gather-100k", "gatherq", 100_000, timed(260_000), 0)
	add("gather-10k", "asynq-poll gather", 10_000, timed(3000), 0)
	add("gather-10k", "gatherq", 10_000, timed(150_000), 0)
	add("gather-100ms", "cold", 1000, map[string]float64{Ratio: 1.07}, 0)
	add("gather-100ms", "warm", 1000, map[string]float64{Ratio: 1.02}, 0)
	add("stragglers", "gatherq", 20_000, map[string]float64{Ratio: 1.2, "early": 6000}, 0)
	add("sim", "echo", 100_000, timed(100_000), 0)
	add("sim", "sim", 100_000, timed(60_000), 0)
	add("beside-gather", "gatherq", 100_000, timed(9000), 0)
	add("idle-alone", "worker processes: 1", 1, map[string]float64{IdleCommands: 4, IdleCommands + ".blpop": 1, IdleCommands + ".evalsha": 3}, 0)
	add("idle-fleet", "worker processes: 20", 20, map[string]float64{IdleCommands: 2.5}, 0)
	add("wake", "worker processes: 50", 20, map[string]float64{WakeCommands: 13}, 0)
	add("stream", "producer gather", 1_000_000, map[string]float64{PeakMemory: 30}, 0)
	add("stream", "producer gather --await", 1_000_000, map[string]float64{PeakMemory: 257}, 0)
	add("stored", "gatherq", 100_000, map[string]float64{StoredBytes: 231}, 0)
	add("awaits", "gatherq", 10_000, map[string]float64{HeapPerAwait: 1537, AwaitConnections: 1}, 0)
	add("latency", "gatherq", 1_000_000, map[string]float64{SlowestPing: 15}, 0)
	return run
}

func TestARunIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	run := measuredRun()
	var text bytes.Buffer
	if err := run.Write(&text); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(text.String(), "\n"); lines != len(run.Samples)+2 {
		t.Errorf("%d lines for %d samples: want one a sample", lines, len(run.Samples))
	}
	file := filepath.Join(t.TempDir(), "run.json")
	if err := os.WriteFile(file, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(file)
	if err != nil || !reflect.DeepEqual(got, run) {
		t.Errorf("read %+v, %v", got, err)
	}
}

func TestReadRefusesAnotherFormat(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "run.json")
	for text, want := range map[string]string{`{"format":2}`: "format 2", `{`: "unexpected end", `{}`: "format 0"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(file); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v, want %q and the file's name", text, err, want)
		}
	}
}

// A figure with a target that no run can fill would look as if it had not been measured.
func TestEveryTargetHasItsVerdict(t *testing.T) {
	t.Parallel()
	run := measuredRun()
	want := map[string]string{
		"idle round trip p50 / ping-pong p50": "met", "single, 256 callers / asynq polled": "NOT MET", "gather of 100,000 / fan-out": "stretch",
		"gather of 10,000 / asynq polled": "met", "1,000 x 100 ms / ideal, cold": "met", "1,000 x 100 ms / ideal, warm": "stretch",
		"20,000 with stragglers / ideal": "met", "their results before 1.5 s": "NOT MET", "sim / echo, gather of 100,000": "met",
		"idle worker, commands/s, alone": "met", "idle worker, commands/s, in a fleet": "stretch", "commands in 200 ms after a create": "NOT MET",
		"start beside a gather, p99, ms": "met", "peak memory of gather, MiB": "stretch", "peak memory of gather --await, MiB": "NOT MET",
		"Redis bytes per settled member": "met", "heap bytes per await": "met", "extra connections of 10,000 awaits": "stretch", "slowest PING, ms": "stretch",
	}
	for _, f := range targets {
		values := f.values(run)
		if len(values) != 3 {
			t.Errorf("%s has %d values, want one a round", f.name, len(values))
			continue
		}
		if got := f.verdict(SpreadOf(values).Median); got != want[f.name] {
			t.Errorf("%s is %v: %q, want %q", f.name, values, got, want[f.name])
		}
		delete(want, f.name)
	}
	if len(want) > 0 {
		t.Errorf("no such targets: %v", want)
	}
}

// The ratio is that of each round, not that of medians.
func TestRatiosAreOfTheSameRound(t *testing.T) {
	t.Parallel()
	var run Run
	for round, values := range [][2]float64{{10, 100}, {20, 400}, {40, 200}} {
		for i, side := range []string{"base", "ours"} {
			run.Samples = append(run.Samples, Sample{Scenario: "s", Side: side, Round: round + 1, Values: map[string]float64{PerSecond: values[i]}})
		}
	}
	run.Samples = append(run.Samples, Sample{Scenario: "s", Side: "ours", Round: 4, Values: map[string]float64{PerSecond: 1}}) // its base is missing
	if got := run.Ratios("s", "ours", "base", PerSecond); !reflect.DeepEqual(got, []float64{10, 20, 5}) {
		t.Errorf("ratios %v", got)
	}
}

func TestTheTableFitsATerminal(t *testing.T) {
	t.Parallel()
	run := measuredRun()
	text := Table(run)
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range []string{
		"idle round trip p50 / ping-pong p50       3.50      3.15      3.85        ≤ 4        ≤ 3  met\n",
		"evalsha 3.00, blpop 1.00", "gather-100k, 100,000\n  fan-out ", "Redis 7.0.15, AOF off",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	run.Settings.Quick = true
	if !strings.Contains(Table(run), "too short to mean anything") {
		t.Error("a quick run does not say so")
	}
}

func TestMarkdownHasAColumnForEachRun(t *testing.T) {
	t.Parallel()
	everysec := measuredRun()
	everysec.Environment.AOF = "everysec"
	everysec.Samples = everysec.Samples[:6] // the round trips alone
	runs := []Run{everysec, measuredRun()}
	Sort(runs)
	text := Targets(runs)
	for _, want := range []string{
		"| | must | stretch | AOF off | AOF everysec |\n|---|---|---|---|---|\n",
		"| idle round trip p50 / ping-pong p50 | ≤ 4 | ≤ 3 | **3.50** (3.15–3.85): met | **3.50** (3.15–3.85): met |\n",
		"| gather of 10,000 / asynq polled | ≥ 40 | ≥ 80 | **50.0**: met | not measured |\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	if text := Measured(runs[0]); !strings.Contains(text, "| `gather-100k` gatherq | 100,000 | **260,000** |") ||
		!strings.Contains(text, "| `idle-alone` worker processes: 1 | **4.00** | commands of clients a second, per idle worker process: evalsha 3.00, blpop 1.00 |") {
		t.Errorf("all that was measured:\n%s", text)
	}
	if text := Environments(runs); strings.Count(text, "\n") != 2 || !strings.Contains(text, "- **AOF off**: 2026-01-02, a CPU, 2 cores, 1024 MiB; Redis 7.0.15") {
		t.Errorf("environments:\n%s", text)
	}
}
