package worker

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Suspects have been in the hands of workers that died, twice at least. One at a time runs here, so that the next death tells
// which one it was; the others go back to where another worker may take them.
type suspects struct {
	turn  chan struct{} // holds one while a suspect runs
	since atomic.Int64  // when that began, in ns since start
	start time.Time
}

const (
	suspectWait  = 250 * time.Millisecond // in a slot, for the turn
	suspectFirst = time.Second            // until a suspect that did not get its turn is delivered again: as long as the
	suspectLast  = 30 * time.Second       // one that runs has run already, within these
)

func newSuspects() suspects { return suspects{turn: make(chan struct{}, 1), start: time.Now()} }

// enter waits a moment for the turn of a claimed suspect and notes that it begins. False: it was given back, or is not ours any
// more.
func (s *suspects) enter(w *Worker, r *run) bool {
	wait, stop := context.WithTimeout(w.pull, suspectWait)
	defer stop()
	select {
	case s.turn <- struct{}{}:
	case <-wait.Done():
		ran := time.Since(s.start) - time.Duration(s.since.Load())
		delay := min(max(ran, suspectFirst), suspectLast)
		if w.Draining() {
			delay = 0
		}
		r.finish(verdict{act: actGiveBack, delay: delay/2 + rand.N(delay+1)})
		return false
	}
	s.since.Store(int64(time.Since(s.start)))
	ours := false
	err := w.tell("begin", r.job.ID, func(ctx context.Context) (err error) {
		ours, err = w.cfg.Records.Begin(ctx, w.cfg.ID, record.Ref{ID: r.job.ID, Number: r.number})
		return err
	})
	if err == nil && ours {
		return true
	}
	s.leave()
	v := verdict{act: actDrop}
	if err != nil {
		v = verdict{act: actGiveBack, delay: suspectFirst}
	}
	r.finish(v)
	return false
}

// leave lets the next one have its turn.
func (s *suspects) leave() { <-s.turn }
