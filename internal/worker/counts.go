package worker

import (
	"iter"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// counts are what a worker counts since its start. Each is an atomic addition, at most one for all members of a range that are told
// together.
type counts struct {
	started, fenced, retried, givenBack atomic.Uint64
	ended                               [4]atomic.Uint64 // by the place of the state in endStates
	dropped                             [5]atomic.Uint64 // by record.ClaimStatus; at 0 tickets
	unheard                             atomic.Uint64    // ends asked for that a beat told first
	running, stuck                      atomic.Int64

	times sync.Map // type → *durations
}

// endStates are the states in which this worker ends tasks; any other counts as failed.
var endStates = [...]record.State{record.Succeeded, record.Failed, record.Cancelled, record.TimedOut}

func (c *counts) end(s record.State, n int) {
	at := 1
	for i, state := range endStates {
		if s == state {
			at = i
		}
	}
	c.ended[at].Add(uint64(n))
}

// Bounds are the upper bounds of a Histogram's buckets, in rising order.
var Bounds = [...]time.Duration{
	time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 5 * time.Second, 10 * time.Second, time.Minute, 5 * time.Minute, 30 * time.Minute,
}

// Histogram is how durations are spread.
type Histogram struct {
	Buckets [len(Bounds) + 1]uint64 // how many lie in each, not in those before it; the last is above all bounds
	Sum     time.Duration
}

func (h *Histogram) observe(d time.Duration) {
	d = max(d, 0) // two clocks
	at := 0
	for at < len(Bounds) && d > Bounds[at] {
		at++
	}
	h.Buckets[at]++
	h.Sum += d
}

// histogram is a Histogram that many may add to.
type histogram struct {
	buckets [len(Bounds) + 1]atomic.Uint64
	sum     atomic.Int64
}

func (h *histogram) add(b *Histogram) {
	for i, n := range b.Buckets {
		if n > 0 {
			h.buckets[i].Add(n)
		}
	}
	h.sum.Add(int64(b.Sum))
}

func (h *histogram) snapshot() (out Histogram) {
	for i := range h.buckets {
		out.Buckets[i] = h.buckets[i].Load()
	}
	out.Sum = time.Duration(h.sum.Load())
	return out
}

// durations are those of one type.
type durations struct{ waited, ran histogram }

// observe notes how long runs that are judged waited for their first start, and ran. redis is Redis' clock at a local time.
func (c *counts) observe(redis func(time.Time) time.Time, runs iter.Seq[*run]) {
	here := time.Now()
	there := redis(here)
	var typ string
	var waited, ran Histogram
	tell := func() {
		if typ != "" {
			d := c.of(typ)
			d.waited.add(&waited)
			d.ran.add(&ran)
		}
	}
	for r := range runs {
		if !r.started {
			continue
		}
		if r.job.Type != typ { // mostly all are of one
			tell()
			typ, waited, ran = r.job.Type, Histogram{}, Histogram{}
		}
		ran.observe(r.ended.Sub(r.begun))
		if r.job.Attempt == 1 && r.job.Delivery == 1 && !r.job.QueuedAt.IsZero() {
			waited.observe(there.Add(r.begun.Sub(here)).Sub(r.job.QueuedAt))
		}
	}
	tell()
}

func (c *counts) of(typ string) *durations {
	d, ok := c.times.Load(typ)
	if !ok {
		d, _ = c.times.LoadOrStore(typ, &durations{})
	}
	return d.(*durations) //nolint:forcetypeassert // nothing else is stored
}

// Stats is a snapshot of a Worker: slots, and counters since the start.
type Stats struct {
	Slots, Free, Running, Stuck int    // stuck handlers are among the running ones
	Started                     uint64 // handlers
	Retried                     uint64 // attempts that failed and were charged, and another one follows
	GivenBack                   uint64 // deliveries given back, nothing charged
	Fenced                      uint64 // ends that did not count, since the task is in other hands
	Untold                      uint64 // ends and returns that could not be told to Redis, for good
	Unheard                     uint64 // ends asked for that no notice had told before a beat did

	Ended   map[record.State]uint64 // tasks whose end was recorded
	Dropped map[string]uint64       // deliveries that were not ours to run, by why
	Waited  map[string]Histogram    // from creation to the first start, by type
	Ran     map[string]Histogram    // handlers, until they returned or their task ended without them, by type
}

// dropReasons name the reasons of Stats.Dropped, by their place in counts.
var dropReasons = [...]string{0: "ticket", record.Stale: "stale", record.Held: "held", record.Gone: "gone", record.Ended: "ended"}

// NothingDropped is Stats.Dropped of a worker that has not begun.
func NothingDropped() map[string]uint64 {
	none := make(map[string]uint64, len(dropReasons))
	for _, why := range dropReasons {
		none[why] = 0
	}
	return none
}

// Stats returns a snapshot.
func (w *Worker) Stats() Stats {
	c := &w.count
	s := Stats{
		Slots: w.cfg.Slots.Size(), Free: w.cfg.Slots.Free(), Running: int(c.running.Load()), Stuck: int(c.stuck.Load()),
		Started: c.started.Load(), Retried: c.retried.Load(), GivenBack: c.givenBack.Load(), Fenced: c.fenced.Load(),
		Untold: uint64(w.untold.Load()), Unheard: c.unheard.Load(),
		Ended: make(map[record.State]uint64), Dropped: NothingDropped(),
		Waited: make(map[string]Histogram), Ran: make(map[string]Histogram),
	}
	for i, state := range endStates {
		s.Ended[state] = c.ended[i].Load()
	}
	for i, why := range dropReasons {
		s.Dropped[why] = c.dropped[i].Load()
	}
	for typ := range maps.Keys(w.cfg.Handlers) {
		d := c.of(typ)
		s.Waited[typ], s.Ran[typ] = d.waited.snapshot(), d.ran.snapshot()
	}
	return s
}
