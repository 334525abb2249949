package group

import (
	"slices"
	"strconv"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Ends collects how members of one range ended, in the order in which they did, packed as they are stored. It is not safe for
// concurrent use.
type Ends struct {
	of     *Range
	worker string
	w      *record.RangeWriter
	runs   []run
	counts []count
	failed *record.Outcome // the first that did not succeed
	n      int
}

// run is consecutive members.
type run struct{ from, n int }

type count struct {
	state record.State
	n     int
}

// NewEnds begins to collect; buf may be what another one has left over. No member ends before base.
func (r *Range) NewEnds(worker string, base time.Time, buf []byte) *Ends {
	return &Ends{of: r, worker: worker, w: record.NewRangeWriter(buf[:0], worker, base, r.QueuedAt)}
}

// Add takes in one more: Index, State, Value or Failure, Attempt, times.
func (e *Ends) Add(o *record.Outcome) {
	o.Delivery = e.of.Number
	e.w.Add(o)
	e.n++
	if last := len(e.runs) - 1; last >= 0 && e.runs[last].from+e.runs[last].n == o.Index {
		e.runs[last].n++
	} else {
		e.runs = append(e.runs, run{o.Index, 1})
	}
	at := slices.IndexFunc(e.counts, func(c count) bool { return c.state == o.State })
	if at < 0 {
		at = len(e.counts)
		e.counts = append(e.counts, count{state: o.State})
	}
	e.counts[at].n++
	if o.State != record.Succeeded && e.failed == nil {
		first := *o
		e.failed = &first
	}
}

// Len returns how many there are.
func (e *Ends) Len() int {
	if e == nil {
		return 0
	}
	return e.n
}

// Group returns the ID of their group.
func (e *Ends) Group() string { return e.of.Group }

// Bytes returns them as they are stored.
func (e *Ends) Bytes() []byte { return e.w.Bytes() }

// Each calls f for each state with how many ended so.
func (e *Ends) Each(f func(s record.State, n int)) {
	for _, c := range e.counts {
		f(c.state, c.n)
	}
}

// args are the ends as scripts take them: range, number, worker if named, runs, blob, counts, failed.
func (e *Ends) args(args []any, worker bool) []any {
	if e.Len() == 0 {
		return append(args, "", "", "", "", "", "", "", "")
	}
	args = append(args, e.of.ID, e.of.Number)
	if worker {
		args = append(args, e.worker)
	}
	args = append(args, e.packRuns(), e.Bytes(), e.packCounts())
	if e.failed == nil {
		return append(args, "", "", "")
	}
	return append(args, e.failed.Index, string(e.failed.State), e.failed.Failure.Encode())
}

// packRuns writes "from,count,from,count…", ascending.
func (e *Ends) packRuns() []byte {
	slices.SortFunc(e.runs, func(a, b run) int { return a.from - b.from })
	return packRuns(e.runs)
}

func packRuns(runs []run) []byte {
	b := make([]byte, 0, 16*len(runs))
	for i := 0; i < len(runs); {
		from, n := runs[i].from, runs[i].n
		for i++; i < len(runs) && runs[i].from == from+n; i++ {
			n += runs[i].n
		}
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = append(strconv.AppendInt(b, int64(from), 10), ',')
		b = strconv.AppendInt(b, int64(n), 10)
	}
	return b
}

// packCounts writes "state,how many,…".
func (e *Ends) packCounts() []byte {
	b := make([]byte, 0, 16*len(e.counts))
	for _, c := range e.counts {
		if len(b) > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(append(append(b, c.state...), ','), int64(c.n), 10)
	}
	return b
}
