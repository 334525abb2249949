package fleet

import (
	"sync/atomic"
	"time"
)

// rowEnds is how long there is none any more when a row has ended.
const rowEnds = 30 * time.Second

// row counts what comes in rows, so that a log may say it once for each of them. Its zero value is ready; n may be read at any time, one is
// called by one goroutine at a time.
type row struct {
	n    atomic.Uint64
	last time.Time
}

// one counts another one. first: it is the first of a row.
func (r *row) one(now time.Time) (first bool) {
	first = r.last.IsZero() || now.Sub(r.last) > rowEnds
	r.last = now
	r.n.Add(1)
	return first
}
