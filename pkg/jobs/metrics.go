package jobs

import (
	"maps"
	"slices"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/fleet"
	"github.com/gatherq/gatherq/internal/inbox"
	"github.com/gatherq/gatherq/internal/record"
	"github.com/gatherq/gatherq/internal/worker"
)

// MetricKind is how a Metric is to be read.
type MetricKind string

// The kinds.
const (
	MetricCounter   MetricKind = "counter"   // only grows, since the start of the worker
	MetricGauge     MetricKind = "gauge"     // stands for now
	MetricHistogram MetricKind = "histogram" // how durations are spread, since the start of the worker
)

// Metric is one thing that a Worker counts or measures. Names and labels follow the rules of Prometheus, in its base units; any
// other system can be fed from the same values. docs/operations.md says what each means and what to do about it.
type Metric struct {
	Name    string
	Help    string
	Kind    MetricKind
	Label   string   // the name of the one label that tells its samples apart; "" where there is one sample
	Samples []Sample // one for each value of the label, in their order
}

// Sample is one value of a Metric.
type Sample struct {
	Label   string             // the value of the label
	Value   float64            // of a counter or gauge; of a histogram the sum, in seconds
	Count   uint64             // of a histogram: how many there are
	Buckets map[float64]uint64 // of a histogram: how many there are up to each bound, in seconds
}

// Metrics returns a snapshot of all that this worker counts, since its start; before Run all is zero. It asks nobody and costs
// some microseconds: call it as often as somebody looks.
func (w *Worker) Metrics() []Metric {
	w.mu.Lock()
	running := w.service
	w.mu.Unlock()
	v := measured{repairs: (*fleet.Repairs)(nil).Counts()}
	v.Slots, v.Free = w.slots.Size(), w.slots.Free()
	if running != nil {
		e := running.engine
		v.Stats, v.reaper, v.repairs = running.exec.Stats(), running.reaper.Stats(), running.repairs.Counts()
		v.conn, v.inbox, v.beat = e.Conn().Stats(), e.Inbox(), running.beat.Stats()
		if server := running.server.Load(); server != nil {
			v.dequeues = server.Failures()
		}
	}
	out := make([]Metric, len(metrics))
	for i, m := range metrics {
		out[i] = Metric{Name: m.name, Help: m.help, Kind: m.kind, Label: m.label, Samples: m.samples(&v)}
	}
	return out
}

// measured is what the metrics are taken from.
type measured struct {
	worker.Stats
	reaper   fleet.ReaperStats
	beat     fleet.BeatStats
	repairs  map[fleet.Repair]uint64
	conn     conn.Stats
	inbox    inbox.Stats
	dequeues uint64
}

type metric struct {
	name, help string
	kind       MetricKind
	label      string
	samples    func(*measured) []Sample
}

// metrics are all of them, in the order of docs/operations.md.
var metrics = []metric{
	{"gatherq_slots", "Handlers that may run at once.", MetricGauge, "", single(func(v *measured) int { return v.Slots })},
	{"gatherq_slots_free", "Slots that no handler has.", MetricGauge, "", single(func(v *measured) int { return v.Free })},
	{"gatherq_slots_stuck", "Slots of handlers whose task has ended or was given back without them.", MetricGauge, "", single(func(v *measured) int { return v.Stuck })},
	{"gatherq_handlers_running", "Handlers that run, stuck ones included.", MetricGauge, "", single(func(v *measured) int { return v.Running })},
	{"gatherq_deliveries_total", "Deliveries whose handler began.", MetricCounter, "", single(func(v *measured) uint64 { return v.Started })},
	{"gatherq_tasks_ended_total", "Tasks and members that this worker ended, by state.", MetricCounter, "state", func(v *measured) []Sample {
		ended := map[record.State]uint64{record.CrashLoop: v.reaper.CrashLoops}
		for _, s := range []record.State{record.Succeeded, record.Failed, record.Cancelled, record.TimedOut} {
			ended[s] = v.Ended[s]
		}
		return counted(ended)
	}},
	{"gatherq_retries_total", "Attempts that failed and were charged, with another one to follow.", MetricCounter, "", single(func(v *measured) uint64 { return v.Retried })},
	{"gatherq_given_back_total", "Deliveries given back, nothing charged.", MetricCounter, "", single(func(v *measured) uint64 { return v.GivenBack })},
	{"gatherq_fenced_total", "Ends that were refused: the task is in other hands, or has ended.", MetricCounter, "", single(func(v *measured) uint64 { return v.Fenced })},
	{"gatherq_deliveries_dropped_total", "Deliveries that were not this worker's to run, by reason.", MetricCounter, "reason", func(v *measured) []Sample {
		if len(v.Dropped) == 0 {
			return counted(worker.NothingDropped())
		}
		return counted(v.Dropped)
	}},
	{"gatherq_untold_total", "Ends and returns that this worker could not tell Redis, for good.", MetricCounter, "", single(func(v *measured) uint64 { return v.Untold })},
	{"gatherq_not_durable_total", "Outcomes that fell short of the client's Durability, and were told all the same.", MetricCounter, "", single(func(v *measured) uint64 { return v.conn.Short })},
	{"gatherq_repairs_total", "What this worker has repaired silently, by kind.", MetricCounter, "kind", func(v *measured) []Sample { return counted(v.repairs) }},
	{"gatherq_beats_irregular_total", "Beats whose answers came late or not at all, and gaps between looks at the other workers, by kind.", MetricCounter, "kind", func(v *measured) []Sample {
		return counted(map[string]uint64{"gap": v.reaper.Gaps, "late": v.beat.Late, "unanswered": v.beat.Unanswered})
	}},
	{"gatherq_notices_lost_total", "Ends and requests to end that no notice told in time, by kind.", MetricCounter, "kind", func(v *measured) []Sample {
		return counted(map[string]uint64{"cancel": v.Unheard, "end": v.inbox.Lost})
	}},
	{"gatherq_inbox_reconnects_total", "Reconnects of the subscription over which awaits are told.", MetricCounter, "", single(func(v *measured) uint64 { return v.inbox.Reconnects })},
	{"gatherq_redis_retries_total", "Pipelines sent again, since Redis did not answer or could not then.", MetricCounter, "", single(func(v *measured) uint64 { return v.conn.Retries })},
	{"gatherq_script_reloads_total", "Pipelines sent again with their scripts, which Redis had forgotten.", MetricCounter, "", single(func(v *measured) uint64 { return v.conn.Reloads })},
	{"gatherq_dequeue_failures_total", "Dequeues that failed and were asked again after a moment.", MetricCounter, "", single(func(v *measured) uint64 { return v.dequeues })},
	{"gatherq_start_delay_seconds", "From the creation of a task to the start of its first delivery's handler, by type.", MetricHistogram, "type",
		func(v *measured) []Sample { return spread(v.Waited) }},
	{"gatherq_run_seconds", "How long handlers ran, by type.", MetricHistogram, "type", func(v *measured) []Sample { return spread(v.Ran) }},
}

func single[N int | uint64](value func(*measured) N) func(*measured) []Sample {
	return func(v *measured) []Sample { return []Sample{{Value: float64(value(v))}} }
}

func counted[K ~string](counts map[K]uint64) []Sample {
	out := make([]Sample, 0, len(counts))
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		out = append(out, Sample{Label: string(k), Value: float64(counts[k])})
	}
	return out
}

func spread(types map[string]worker.Histogram) []Sample {
	out := make([]Sample, 0, len(types))
	for _, typ := range slices.Sorted(maps.Keys(types)) {
		h := types[typ]
		s := Sample{Label: typ, Value: h.Sum.Seconds(), Buckets: make(map[float64]uint64, len(worker.Bounds))}
		for i, n := range h.Buckets {
			s.Count += n
			if i < len(worker.Bounds) {
				s.Buckets[worker.Bounds[i].Seconds()] = s.Count
			}
		}
		out = append(out, s)
	}
	return out
}
