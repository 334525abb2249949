package worker

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Suspects have been in the hands of workers that died, twice at least. One at a time runs here, from its begin to its end in the record, so
// that the next death tells which one it was; the others go back to where another worker may take them.
//
// One whose handler ignores its end has been judged without it, and passes the turn on: the handler may never return, and suspects that
// have no other worker would never run. Yet it may still kill the process, and then no death tells which one it was. So those that run
// beside it are not noted as begun, and are not charged: no task ends by a crash that may be its neighbour's. One that did it itself gets
// a death for free that way, one for each attempt that another suspect has spent on being stuck, and is charged in the next worker.
type suspects struct {
	turn  chan struct{} // holds one while a suspect runs
	since atomic.Int64  // when that began, in ns since start
	start time.Time
	stuck atomic.Int64 // those that passed the turn on and run
}

const (
	suspectWait  = 250 * time.Millisecond // in a slot, for the turn
	suspectFirst = time.Second            // until a suspect that did not get its turn is delivered again: as long as the
	suspectLast  = 30 * time.Second       // one that runs has run already, within these
)

func newSuspects() suspects { return suspects{turn: make(chan struct{}, 1), start: time.Now()} }

// enter waits a moment for the turn of a claimed suspect and notes that it begins, unless it does so beside one that is stuck. False: it
// was given back, or is not ours any more.
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
	r.suspect = true
	if s.stuck.Load() > 0 {
		return true
	}
	ours := false
	err := w.tell("begin", r.job.ID, func(ctx context.Context) (err error) {
		ours, err = w.cfg.Records.Begin(ctx, w.cfg.ID, record.Ref{ID: r.job.ID, Number: r.number})
		return err
	})
	if err == nil && ours {
		return true
	}
	v := verdict{act: actDrop}
	if err != nil {
		v = verdict{act: actGiveBack, delay: suspectFirst}
	}
	r.finish(v)
	return false
}

// told gives the turn to the next one, once the record knows how this run ended: as long as it does not, the crash of the next one would be
// charged to this one, too. A handler that has not returned by then goes on beside the next.
func (s *suspects) told(r *run) {
	r.mu.Lock()
	suspect := r.suspect
	if suspect && r.started && !r.returned {
		r.passed = true
		s.stuck.Add(1) // before the next one looks
	}
	r.mu.Unlock()
	if suspect {
		<-s.turn
	}
}

// returned notes that a handler has returned. The caller holds the run's mu.
func (s *suspects) returned(r *run) {
	r.returned = true
	if r.passed {
		s.stuck.Add(-1)
	}
}
