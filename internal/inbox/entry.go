package inbox

import (
	"slices"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// entry is one ID and view that somebody waits for, and all who do. The inbox' lock guards it.
type entry struct {
	key
	waiters []*waiter
	queued  bool
	flying  bool
	again   bool // look once more after the flight: a notice came meanwhile
	seen    bool // Redis has known it while it was here: if it is gone then, it is lost
	rested  bool // it was registered and nothing has called for another look but the safety check
}

// waiter is one who waits, for one answer.
type waiter struct {
	entry  *entry
	told   func(int, record.Answer, error)
	place  int
	after  int
	flight uint32        // the first that left after it came; 0 before
	since  time.Duration // of the inbox' life
}

// enqueue asks for a look with the next flight.
func (b *Inbox) enqueue(e *entry) {
	e.rested = false
	switch {
	case e.flying:
		e.again = true
	case !e.queued:
		e.queued = true
		b.queue = append(b.queue, e)
	}
}

// drop takes a waiter out. It may have been told already.
func (b *Inbox) drop(w *waiter) {
	e := w.entry
	i := slices.Index(e.waiters, w)
	if i < 0 {
		return
	}
	e.waiters = slices.Delete(e.waiters, i, i+1)
	b.release(e)
}

// release forgets an entry that nobody waits for. What Redis still knows of it ends with its record or goes stale.
func (b *Inbox) release(e *entry) {
	if len(e.waiters) == 0 && b.entries[e.key] == e {
		delete(b.entries, e.key)
	}
}

// tell answers all waiters of e.
func (b *Inbox) tell(e *entry, a record.Answer, err error) {
	b.tellSome(e, a, err, func(*waiter) bool { return true })
}

// tellSome answers those that due names, in the order in which they came, and returns how many are left.
func (b *Inbox) tellSome(e *entry, a record.Answer, err error, due func(*waiter) bool) (left int) {
	keep := e.waiters[:0]
	for _, w := range e.waiters {
		if due(w) {
			w.told(w.place, a, err)
		} else {
			keep = append(keep, w)
		}
	}
	clear(e.waiters[len(keep):])
	e.waiters = keep
	b.release(e)
	return len(keep)
}

// take starts a flight: everything that is queued and still wanted.
func (b *Inbox) take() (flight uint32, batch []*entry, interests []record.Interest) {
	b.flight++
	for _, e := range b.queue {
		e.queued = false
		if len(e.waiters) == 0 {
			continue
		}
		e.flying = true
		least := e.waiters[0].after
		for _, w := range e.waiters {
			least = min(least, w.after)
			if w.flight == 0 {
				w.flight = b.flight
			}
		}
		batch = append(batch, e)
		interests = append(interests, record.Interest{ID: e.id, View: e.view, After: least})
	}
	b.queue = b.queue[:0]
	if cap(b.queue) > 4096 && len(batch) < cap(b.queue)/8 {
		b.queue = nil // a burst is over
	}
	return b.flight, batch, interests
}

// land takes in one answer. It returns true where something ended that a notice should have told.
func (b *Inbox) land(e *entry, flight uint32, a record.Answer) (missed bool) {
	e.flying = false
	if len(e.waiters) == 0 {
		return false
	}
	here := func(w *waiter) bool { return w.flight != 0 && w.flight <= flight }
	switch a.Status {
	case record.Waiting:
		e.seen = true
		if e.again {
			b.enqueue(e)
		} else {
			e.rested = true
		}
	case record.HasEnded:
		missed = e.rested && !e.again
		left := 0
		if e.view == record.ProgressView && !a.Barrier {
			left = b.tellSome(e, a, nil, func(w *waiter) bool { return w.after < a.Done })
		} else {
			b.tell(e, a, nil)
		}
		if left > 0 {
			b.enqueue(e)
		}
	case record.IsUnknown, record.IsExpired:
		if a.Status == record.IsUnknown && e.seen {
			a.Status = record.HasEnded
			a.Outcome = record.Outcome{ID: e.id, Index: -1, State: record.Lost, Failure: &record.Failure{Kind: "lost"}}
		}
		// Who came after the flight had left may have created it meanwhile.
		if b.tellSome(e, a, nil, here) > 0 {
			b.enqueue(e)
		}
	}
	e.again = false
	return missed
}

// notice takes in what the subscription brought.
func (b *Inbox) notice(payload []byte) {
	n, err := record.ParseNotice(payload)
	if err != nil {
		b.cfg.Log.Debug("inbox: a notice that does not parse", "error", err)
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	view := record.View(n.Kind)
	e := b.entries[key{n.ID, view}]
	if e == nil {
		return // nobody waits any more, or it is not for an inbox of awaits
	}
	switch {
	case view == record.Whole && n.Outcome != nil && n.Outcome.State.Final():
		b.tell(e, record.Answer{Status: record.HasEnded, Outcome: *n.Outcome}, nil)
		return
	case view == record.ProgressView:
		a := record.Answer{Status: record.HasEnded, Outcome: record.Outcome{ID: n.ID, Index: -1}, Done: n.Done}
		if b.tellSome(e, a, nil, func(w *waiter) bool { return w.after < n.Done }) == 0 {
			return
		}
	}
	b.enqueue(e)
	b.poke()
}
