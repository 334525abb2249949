package report

// figure is one line of a table: a value over the rounds, and what it should be.
type figure struct {
	name          string
	values        func(Run) []float64
	must, stretch float64
	least         bool // the targets are a least, not a most
}

// ratio is what a side reached divided by what another reached in the same round.
func ratio(scenario, side, other, value string) func(Run) []float64 {
	return func(run Run) []float64 { return run.Ratios(scenario, side, other, value) }
}

// plain is the value of a side; of all that the scenario has where side is empty.
func plain(scenario, side, value string) func(Run) []float64 {
	return func(run Run) []float64 { return run.Values(scenario, side, value) }
}

// millis is plain for microseconds.
func millis(scenario, side, value string) func(Run) []float64 {
	return func(run Run) []float64 {
		values := run.Values(scenario, side, value)
		for i := range values {
			values[i] /= 1e3
		}
		return values
	}
}

// targets are the figures that something is promised of: what must be, and what would be better still.
var targets = []figure{
	{name: "idle round trip p50 / ping-pong p50", values: ratio("round-trip", "gatherq", "ping-pong", P50), must: 4, stretch: 3},
	{name: "single, 256 callers / asynq polled", values: ratio("single-256", "gatherq", "asynq-poll single", PerSecond), must: 8, stretch: 15, least: true},
	{name: "gather of 100,000 / fan-out", values: ratio("gather-100k", "gatherq", "fan-out", PerSecond), must: 0.8, stretch: 1.2, least: true},
	{name: "gather of 10,000 / asynq polled", values: ratio("gather-10k", "gatherq", "asynq-poll gather", PerSecond), must: 40, stretch: 80, least: true},
	{name: "1,000 x 100 ms / ideal, cold", values: plain("gather-100ms", "cold", Ratio), must: 1.10, stretch: 1.05},
	{name: "1,000 x 100 ms / ideal, warm", values: plain("gather-100ms", "warm", Ratio), must: 1.10, stretch: 1.05},
	{name: "20,000 with stragglers / ideal", values: plain("stragglers", "gatherq", Ratio), must: 1.3, stretch: 1.1},
	{name: "their results before 1.5 s", values: plain("stragglers", "gatherq", "early"), must: 19_800, stretch: 19_800, least: true},
	{name: "sim / echo, gather of 100,000", values: ratio("sim", "sim", "echo", PerSecond), must: 0.5, stretch: 0.8, least: true},
	{name: "idle worker, commands/s, alone", values: plain("idle-alone", "", IdleCommands), must: 5, stretch: 3},
	{name: "idle worker, commands/s, in a fleet", values: plain("idle-fleet", "", IdleCommands), must: 5, stretch: 3},
	{name: "commands in 200 ms after a create", values: plain("wake", "", WakeCommands), must: 12, stretch: 8},
	{name: "start beside a gather, p99, ms", values: millis("beside-gather", "gatherq", P99), must: 100, stretch: 50},
	{name: "peak memory of gather, MiB", values: plain("stream", "producer gather", PeakMemory), must: 256, stretch: 100},
	{name: "peak memory of gather --await, MiB", values: plain("stream", "producer gather --await", PeakMemory), must: 256, stretch: 100},
	{name: "Redis bytes per settled member", values: plain("stored", "gatherq", StoredBytes), must: 300, stretch: 230},
	{name: "heap bytes per await", values: plain("awaits", "gatherq", HeapPerAwait), must: 4096, stretch: 1536},
	{name: "extra connections of 10,000 awaits", values: plain("awaits", "gatherq", AwaitConnections), must: 2, stretch: 1},
	{name: "slowest PING, ms", values: plain("latency", "gatherq", SlowestPing), must: 50, stretch: 15},
}

// verdict says which target a median meets.
func (f figure) verdict(median float64) string {
	meets := func(target float64) bool {
		if f.least {
			return median >= target
		}
		return median <= target
	}
	switch {
	case meets(f.stretch):
		return "stretch"
	case meets(f.must):
		return "met"
	}
	return "NOT MET"
}

// bound writes a target.
func (f figure) bound(v float64) string {
	if f.least {
		return "≥ " + short(v)
	}
	return "≤ " + short(v)
}

// column is one value of the tables of all that was measured.
type column struct {
	value, head string
}

// columns are those values that many sides have.
var columns = []column{{P50, "p50 µs"}, {P99, "p99 µs"}, {RedisCPU, "Redis"}, {WorkerCPU, "workers"}, {OwnCPU, "caller"}}

// others are the values of which few sides have one each, with the words that a table says them in.
var others = []column{
	{Ratio, "times the ideal"},
	{"early", "results before 1.5 s"},
	{"ideal_early", "the most there can be in call order: then no slot is free"},
	{"singles", "single tasks beside the gather"},
	{ClientCommands, "commands of clients per task"},
	{IdleCommands, "commands of clients a second, per idle worker process"},
	{WakeCommands, "commands of all clients in the 200 ms after a create"},
	{"wake_commands_max", "in the window of those with the most"},
	{"background_commands", "in 200 ms without a create"},
	{"background_commands_mean", "in 200 ms without a create, the mean"},
	{HeapPerAwait, "bytes of heap per await"},
	{"stack_bytes_per_await", "bytes of stack per await: its caller's goroutine"},
	{AwaitConnections, "connections beyond the first"},
	{StoredBytes, "bytes in Redis per settled member"},
	{SlowestPing, "ms, slowest PING"},
	{"p999_ping_ms", "ms, PING p99.9"},
	{"p99_ping_ms", "ms, PING p99"},
	{"slowest_command_ms", "ms, slowest command in SLOWLOG (0: none over 10 ms)"},
	{PeakMemory, "MiB, peak memory"},
}
