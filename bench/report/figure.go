package report

import "fmt"

// figure is one line of a table: a value over the rounds, and what it should be.
type figure struct {
	name          string
	unit          string
	values        func(Run) []float64
	must, stretch float64 // 0: there is no target
	least         bool    // the target is a least, not a most
}

// ratio is what a side reached divided by what another reached in the same round.
func ratio(scenario, side, other, value string) func(Run) []float64 {
	return func(run Run) []float64 { return run.ratios(scenario, side, other, value) }
}

// plain is the value of a side.
func plain(scenario, side, value string) func(Run) []float64 {
	return func(run Run) []float64 { return run.values(scenario, side, value) }
}

// targets are the figures with targets.
var targets = []figure{
	{name: "idle round trip p50 / ping-pong p50", values: ratio("round-trip", "gatherq", "ping-pong", P50), must: 4, stretch: 3},
	{name: "single tasks, 256 callers / asynq polled", values: ratio("single-256", "gatherq", "asynq-poll single", PerSecond), must: 8, stretch: 15, least: true},
	{name: "gather of 100,000 / fan-out on bare Redis", values: ratio("gather-100k", "gatherq", "fan-out", PerSecond), must: 0.8, stretch: 1.2, least: true},
	{name: "gather of 10,000 / asynq polled", values: ratio("gather-10k", "gatherq", "asynq-poll gather", PerSecond), must: 40, stretch: 80, least: true},
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
	case f.must == 0:
		return ""
	case meets(f.stretch):
		return "stretch"
	case meets(f.must):
		return "met"
	}
	return "MISSED"
}

// target writes a target.
func (f figure) target(v float64) string {
	if f.must == 0 {
		return ""
	}
	if f.least {
		return ">= " + number(v)
	}
	return "<= " + number(v)
}

var _ = fmt.Sprint
