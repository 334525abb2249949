// Package report is what one run of the bench leaves behind: its raw samples and where they were taken. It turns them into figures with
// their targets, for a terminal and for docs/performance.md.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// Format is the version of the JSON of a Run. It grows when a reader of an older one would misunderstand it.
const Format = 1

// Run is one run of the bench: what bench/results holds.
type Run struct {
	Format      int         `json:"format"`
	Environment Environment `json:"environment"`
	Settings    Settings    `json:"settings"`
	Samples     []Sample    `json:"samples"`
}

// Environment is where and of what a run was taken.
type Environment struct {
	Time      time.Time `json:"time"`
	Commit    string    `json:"commit,omitempty"` // of the binary, "+dirty" behind it where files were changed
	Go        string    `json:"go"`
	OS        string    `json:"os"`
	Arch      string    `json:"arch"`
	CPU       string    `json:"cpu,omitempty"`
	Cores     int       `json:"cores"`
	MemoryMiB int       `json:"memory_mib,omitempty"`
	Redis     string    `json:"redis"` // its version
	AOF       string    `json:"aof"`   // "off", else appendfsync
	Snapshots string    `json:"snapshots,omitempty"`
}

// Settings are the flags of a run.
type Settings struct {
	Rounds  int  `json:"rounds"`
	Members int  `json:"members"` // of the largest gather
	Fleet   int  `json:"fleet"`   // idle worker processes
	Quick   bool `json:"quick"`   // too short to mean anything
}

// Sample is one measured round of one side of a scenario. Sides of a scenario were measured in turn.
type Sample struct {
	Scenario string             `json:"scenario"`
	Side     string             `json:"side"`
	Round    int                `json:"round"`
	N        int                `json:"n"`
	Workers  []int              `json:"workers,omitempty"` // IDs of the worker processes
	Values   map[string]float64 `json:"values"`
}

// Names of values that many sides have. Others stand with the scenario that gives them.
const (
	PerSecond = "per_s"   // operations a second, from the first encoding to the last decoding
	Seconds   = "seconds" // the whole
	P50       = "p50_us"
	P99       = "p99_us"
	RedisCPU  = "redis_cpu_us_per_op" // user and system, all threads of the server
	OwnCPU    = "producer_cpu_us_per_op"
	WorkerCPU = "worker_cpu_us_per_op"
	Commands  = "commands_per_op" // total_commands_processed: those inside scripts count, too
	Ratio     = "ratio"           // to the ideal

	ClientCommands = "client_commands_per_op" // lines of MONITOR that no script sent; behind a dot, those of one command
	IdleCommands   = "idle_commands_per_s"    // likewise, per worker process
	WakeCommands   = "wake_commands"          // likewise, by all after one create

	HeapPerAwait     = "heap_bytes_per_await"
	AwaitConnections = "extra_connections"
	StoredBytes      = "redis_bytes_per_member"
	SlowestPing      = "slowest_ping_ms"
	PeakMemory       = "peak_mib" // of a process' resident memory
)

// Read reads the Run that file holds.
func Read(file string) (Run, error) {
	var run Run
	data, err := os.ReadFile(file)
	if err != nil {
		return run, err
	}
	if err := json.Unmarshal(data, &run); err != nil {
		return run, fmt.Errorf("%s: %w", file, err)
	}
	if run.Format != Format {
		return run, fmt.Errorf("%s: format %d, this program reads %d", file, run.Format, Format)
	}
	return run, nil
}

// Write writes run as JSON, one sample a line, so that two runs can be compared as text.
func (run Run) Write(w io.Writer) error {
	head, err := json.Marshal(struct {
		Format      int         `json:"format"`
		Environment Environment `json:"environment"`
		Settings    Settings    `json:"settings"`
	}{run.Format, run.Environment, run.Settings})
	if err != nil {
		return err
	}
	text := append([]byte(nil), head[:len(head)-1]...)
	text = append(text, ",\"samples\":["...)
	for i, s := range run.Samples {
		line, err := json.Marshal(s)
		if err != nil {
			return err
		}
		if i > 0 {
			text = append(text, ',')
		}
		text = append(append(text, '\n'), line...)
	}
	_, err = w.Write(append(text, "\n]}\n"...))
	return err
}

// Values returns one value of a side, or of all sides where that is empty, round by round; none where it was not measured.
func (run Run) Values(scenario, side, value string) (values []float64) {
	for _, s := range run.Samples {
		if v, ok := s.Values[value]; ok && s.Scenario == scenario && (side == "" || s.Side == side) {
			values = append(values, v)
		}
	}
	return values
}

// Ratios returns what one side reached divided by what another reached in the same round.
func (run Run) Ratios(scenario, side, other, value string) (ratios []float64) {
	base := make(map[int]float64)
	for _, s := range run.Samples {
		if v, ok := s.Values[value]; ok && s.Scenario == scenario && s.Side == other {
			base[s.Round] = v
		}
	}
	for _, s := range run.Samples {
		v, ok := s.Values[value]
		if b := base[s.Round]; ok && b > 0 && s.Scenario == scenario && s.Side == side {
			ratios = append(ratios, v/b)
		}
	}
	return ratios
}

// String names what the figures depend on, in one line.
func (e Environment) String() string {
	return fmt.Sprintf("Redis %s, AOF %s; %s, %d cores", e.Redis, e.AOF, e.Go, e.Cores)
}

// Brief is what a line of progress says of a sample.
func (s Sample) Brief() string {
	of := func(name, unit string) string {
		if value, ok := s.Values[name]; ok {
			return Number(value) + unit
		}
		return ""
	}
	for _, text := range []string{
		of(Ratio, " times the ideal"), of(IdleCommands, " commands/s"), of(WakeCommands, " commands"), of(ClientCommands, " commands per task"),
		of(HeapPerAwait, " bytes per await"), of(StoredBytes, " bytes per member"), of(SlowestPing, " ms at most"), of(PeakMemory, " MiB at most"),
	} {
		if text != "" {
			return text
		}
	}
	if s.N < 50_000 {
		return cmp.Or(of(P50, " µs p50"), of(PerSecond, "/s"))
	}
	return of(PerSecond, "/s")
}
