package inbox

import (
	"slices"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Expectations. Who creates a task mostly awaits it soon. So a creation registers this inbox along the way, and the await that
// follows need not ask Redis: the end may even have been told by then. It is only worth it for a process that awaits, so an
// inbox expects nothing before it hears its notices, and no more than a few that nobody has asked for yet.
const (
	mostExpected = 1024             // that nobody waits for yet
	expectFor    = 10 * time.Second // then an await asks Redis, as for any other task
)

// expected is a task that was created with this inbox registered, and that nobody waits for yet.
type expected struct {
	id      string
	since   time.Time
	created bool           // Redis said so
	answer  *record.Answer // the end, where it was told already
}

// Expect notes that a task is about to be created with this inbox registered, and returns the inbox' address; "" where it should
// not be. Created must follow.
func (b *Inbox) Expect(id string) (inbox string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || !b.confirmed || !b.listening || !b.suspect.IsZero() {
		return ""
	}
	now := time.Now()
	for len(b.expectations) > 0 && (b.expected[b.expectations[0].id] != b.expectations[0] || now.Sub(b.expectations[0].since) > expectFor) {
		b.forsake(b.expectations[0])
		b.expectations = b.expectations[1:]
	}
	if len(b.expected) >= mostExpected {
		return ""
	}
	if len(b.expectations) >= 4*mostExpected { // most behind the first have been asked for
		b.expectations = slices.DeleteFunc(b.expectations, func(x *expected) bool { return b.expected[x.id] != x })
	}
	if b.expected == nil {
		b.expected = make(map[string]*expected)
	}
	x := &expected{id: id, since: now}
	b.expected[id] = x
	b.expectations = append(b.expectations, x)
	return b.id
}

// Created says whether Redis has the task that was expected. Where it has not, or nobody knows, an await asks.
func (b *Inbox) Created(id string, stored bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if x := b.expected[id]; x != nil {
		if x.created = stored; !stored {
			b.forsake(x)
		}
	}
}

// forsake forgets an expectation: the await asks. The lock is held.
func (b *Inbox) forsake(x *expected) {
	if b.expected[x.id] == x {
		delete(b.expected, x.id)
	}
}

// expectNothing forgets all expectations: notices may have been lost. The lock is held.
func (b *Inbox) expectNothing() {
	clear(b.expected)
	b.expectations = nil
}

// meet takes the expectation of an ID for one who waits for it; nil where there is none. The lock is held.
func (b *Inbox) meet(k key) *expected {
	x := b.expected[k.id]
	if x == nil || k.view != record.Whole {
		return nil
	}
	b.forsake(x)
	if !x.created {
		return nil
	}
	return x
}

// foretold takes in a notice that nobody waits for. The lock is held.
func (b *Inbox) foretold(n *record.Notice) {
	x := b.expected[n.ID]
	switch {
	case x == nil || record.View(n.Kind) != record.Whole:
	case n.Outcome != nil && n.Outcome.State.Final():
		x.answer = &record.Answer{Status: record.HasEnded, Outcome: *n.Outcome}
	default:
		b.forsake(x) // more than a notice carries
	}
}
