package inbox

import (
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// entry is one ID and view that somebody waits for, and all who do, in the order in which they came. The inbox' lock guards it.
type entry struct {
	key
	first, last *waiter
	queued      bool // stands in the queue
	checked     bool // stands among the checks, and no look has come before its turn
	flying      bool
	again       bool // look once more after the flight: a notice came meanwhile
	seen        bool // Redis has known it while it was here: if it is gone then, it is lost
	rested      bool // it was registered and nothing has called for another look but the safety check
}

// waiter is one who waits, for one answer.
type waiter struct {
	entry      *entry // nil: it waits no more
	prev, next *waiter
	told       chan<- Told
	since      time.Duration // of the inbox' life
	place      int
	after      int
	flight     uint32 // the first that left after it came; 0 before
	own        entry  // of the first who waits for an ID: it need not be allocated by itself
}

// newWaiter returns one who waits for in.
func newWaiter(in record.Interest, place int, told chan<- Told) *waiter {
	return &waiter{told: told, place: place, after: in.After, own: entry{key: key{in.ID, in.View}}}
}

// tell gives w its answer, for which told has room.
func (w *waiter) tell(a *record.Answer, err error) { w.told <- Told{w.place, a, err} }

// enter makes w wait for the entry of its ID, which may be its own.
func (b *Inbox) enter(w *waiter) {
	w.since = time.Since(b.birth)
	x := b.meet(w.own.key)
	if x != nil && x.answer != nil {
		w.tell(x.answer, nil)
		return
	}
	e := b.entries[w.own.key]
	if e == nil {
		e = &w.own
		b.entries[e.key] = e
		if x != nil { // registered as it was created
			e.seen, e.rested = true, true
		}
	}
	e.push(w)
	if !e.rested || x == nil {
		b.enqueue(e)
	}
}

// push adds a waiter.
func (e *entry) push(w *waiter) {
	w.entry, w.prev = e, e.last
	if e.last != nil {
		e.last.next = w
	} else {
		e.first = w
	}
	e.last = w
}

// remove takes a waiter out.
func (e *entry) remove(w *waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		e.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		e.last = w.prev
	}
	w.entry, w.prev, w.next = nil, nil, nil
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
	if e := w.entry; e != nil {
		e.remove(w)
		b.release(e)
	}
}

// release forgets an entry that nobody waits for. What Redis still knows of it ends with its record or goes stale.
func (b *Inbox) release(e *entry) {
	if e.first == nil && b.entries[e.key] == e {
		delete(b.entries, e.key)
		delete(b.silent, e)
	}
}

// tell answers all waiters of e.
func (b *Inbox) tell(e *entry, a *record.Answer, err error) {
	b.tellSome(e, a, err, func(*waiter) bool { return true })
}

// tellSome answers those that due names, in the order in which they came, and reports whether any are left.
func (b *Inbox) tellSome(e *entry, a *record.Answer, err error, due func(*waiter) bool) (left bool) {
	for w := e.first; w != nil; {
		next := w.next
		if due(w) {
			e.remove(w)
			w.tell(a, err)
		}
		w = next
	}
	b.release(e)
	return e.first != nil
}

// mostInFlight is how many entries one flight looks at, so that nothing waits long for one. What is asked for goes before the checks.
const mostInFlight = 1000

// take starts a flight with what is still wanted.
func (b *Inbox) take() (batch []*entry, interests []record.Interest) {
	b.flight++
	board := func(e *entry) {
		if e.flying || e.first == nil {
			return
		}
		e.flying, e.checked = true, false
		least := e.first.after
		for w := e.first; w != nil; w = w.next {
			least = min(least, w.after)
			if w.flight == 0 {
				w.flight = b.flight
			}
		}
		batch = append(batch, e)
		interests = append(interests, record.Interest{ID: e.id, View: e.view, After: least})
	}
	n := 0
	for ; n < len(b.queue) && len(batch) < mostInFlight; n++ {
		b.queue[n].queued = false
		board(b.queue[n])
	}
	b.queue = rest(b.queue, n)
	for n = 0; n < len(b.checks) && len(batch) < mostInFlight; n++ {
		if e := b.checks[n]; e.checked && !e.queued {
			e.checked = false
			board(e)
		}
	}
	b.checks = rest(b.checks, n)
	return batch, interests
}

// rest returns queue without its first n, in the same memory as long as that is not much too large.
func rest(queue []*entry, n int) []*entry {
	left := copy(queue, queue[n:])
	clear(queue[left:])
	if left == 0 && cap(queue) > 4096 {
		return nil // a burst is over
	}
	return queue[:left]
}

// land takes in one answer, nil where it waits. It returns true where something ended that a notice should have told.
func (b *Inbox) land(e *entry, flight uint32, a *record.Answer) (missed bool) {
	e.flying = false
	delete(b.silent, e)
	again := e.again
	e.again = false
	if e.first == nil {
		return false
	}
	if a == nil || a.Status == record.Waiting {
		e.seen = true
		if again {
			b.enqueue(e)
		} else {
			e.rested = true
		}
		return false
	}
	left := false
	switch a.Status {
	case record.HasEnded:
		missed = e.rested && !again
		if e.view == record.ProgressView && !a.Barrier {
			left = b.tellSome(e, a, nil, func(w *waiter) bool { return w.after < a.Done })
		} else {
			b.tell(e, a, nil)
		}
	case record.IsUnknown, record.IsExpired:
		if a.Status == record.IsUnknown && e.seen {
			a.Status = record.HasEnded
			a.Outcome = record.Outcome{ID: e.id, Index: -1, State: record.Lost, Failure: &record.Failure{Kind: "lost"}}
		}
		// Who came after the flight had left may have created it meanwhile.
		left = b.tellSome(e, a, nil, func(w *waiter) bool { return w.flight != 0 && w.flight <= flight })
	}
	if left {
		b.enqueue(e)
	}
	return missed
}

// message takes in what the subscription brought.
func (b *Inbox) message(payload []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := record.ParseNotices(payload, b.notice); err != nil {
		b.cfg.Log.Debug("inbox: a message that does not parse", "error", err)
	}
}

// notice takes in one thing that was said. The caller holds mu.
func (b *Inbox) notice(n record.Notice) {
	view := record.View(n.Kind)
	if view == record.Whole && b.cfg.Ended != nil {
		b.cfg.Ended(n.ID)
	}
	e := b.entries[key{n.ID, view}]
	if e == nil {
		b.foretold(&n)
		return // nobody waits any more, or it is not for an inbox of awaits
	}
	switch {
	case view == record.Whole && n.Outcome != nil && n.Outcome.State.Final():
		b.tell(e, &record.Answer{Status: record.HasEnded, Outcome: *n.Outcome}, nil)
		return
	case view == record.ProgressView:
		a := &record.Answer{Status: record.HasEnded, Outcome: record.Outcome{ID: n.ID, Index: -1}, Done: n.Done}
		if !b.tellSome(e, a, nil, func(w *waiter) bool { return w.after < n.Done }) {
			return
		}
	}
	b.enqueue(e)
	b.poke()
}
