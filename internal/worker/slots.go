package worker

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Slots counts running handlers: at most size are taken at once. Of those who wait the most urgent get the next, and of these
// who waits longest. It is safe for concurrent use.
//
// The gate holds a slot while it asks for deliveries. An idle gate may hold it for seconds; others who wait meanwhile get
// that slot on loan. If a delivery comes then, its taker has to wait for a slot again (see Gate).
type Slots struct {
	mu      sync.Mutex
	size    int
	taken   int
	waiting [urgencies]list.List // of *Reservation, longest wait first; not empty only while all slots are taken

	gate    int       // slots that the gate holds
	lent    int       // of these: with others
	since   time.Time // when the gate took its last
	lending *time.Timer
	onLoan  func(lent bool) // hears of each change between none and some
}

// lendAfter is how long the gate's slot is its own: a dequeue that finds something is answered long before that.
const lendAfter = 20 * time.Millisecond

// NewSlots returns size free slots, at least one.
func NewSlots(size int) *Slots { return &Slots{size: max(size, 1)} }

// Urgency is who goes first where several wait.
type Urgency int

// The urgencies, most urgent first.
const (
	Claimed   Urgency = iota // for work that is in this worker's hands
	Asking                   // for the gate: what it finds is served in the order of the queue, tickets and tasks alike
	Pulling                  // for more of a group whose ticket is here: else a group would keep everything else out
	urgencies int     = iota
)

// Reservation is a place in the queue for a slot.
type Reservation struct {
	slots *Slots
	at    Urgency
	place *list.Element // nil once it has its slot or was cancelled; guarded by slots.mu
	got   chan struct{}
}

// Reserve stands in the queue for a slot without waiting. Whoever holds the reservation must, once Got is closed, Release
// the slot at some time, or else Cancel.
func (s *Slots) Reserve(at Urgency) *Reservation {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Reservation{slots: s, at: at, got: make(chan struct{})}
	if s.taken < s.size {
		s.taken++
		s.give(r)
		return r
	}
	r.place = s.waiting[at].PushBack(r)
	s.lend()
	return r
}

// give hands over a slot that is counted already.
func (s *Slots) give(r *Reservation) {
	r.place = nil
	if r.at == Asking {
		s.gate++
		s.since = time.Now()
	}
	close(r.got)
	s.lend()
}

// lend gives the gate's slot to who waits longest, once the gate had it for a moment.
func (s *Slots) lend() {
	if s.lending != nil || s.gate == s.lent {
		return
	}
	for _, at := range []Urgency{Claimed, Pulling} {
		e := s.waiting[at].Front()
		if e == nil {
			continue
		}
		if left := lendAfter - time.Since(s.since); left > 0 {
			s.lending = time.AfterFunc(left, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.lending = nil
				s.lend()
			})
			return
		}
		s.lendMore(1)
		s.give(s.waiting[at].Remove(e).(*Reservation)) //nolint:forcetypeassert // nothing else is in the lists
		return
	}
}

// lendMore counts slots of the gate that are lent, and tells of the first and the last.
func (s *Slots) lendMore(n int) {
	was := s.lent > 0
	s.lent += n
	if lent := s.lent > 0; lent != was && s.onLoan != nil {
		s.onLoan(lent)
	}
}

// Got is closed when the slot is there.
func (r *Reservation) Got() <-chan struct{} { return r.got }

// Cancel leaves the queue, or releases the slot where it is there already.
func (r *Reservation) Cancel() {
	s := r.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case r.place != nil:
		s.waiting[r.at].Remove(r.place)
		r.place = nil
	case r.at == Asking:
		s.leaveGate()
	default:
		s.release()
	}
}

// Acquire waits for a slot until ctx ends; then it returns the cause and holds none.
func (s *Slots) Acquire(ctx context.Context, at Urgency) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r := s.Reserve(at)
	select {
	case <-r.got:
		return nil
	case <-ctx.Done():
		r.Cancel()
		return context.Cause(ctx)
	}
}

// TryAcquire takes a slot that is free now.
func (s *Slots) TryAcquire() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.size {
		return false
	}
	s.taken++
	return true
}

// Release gives a slot back, to who comes first. A slot that nobody took is a mistake of the caller's and panics.
func (s *Slots) Release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.release()
}

func (s *Slots) release() {
	if s.taken == 0 {
		panic("worker: a slot was released that nobody had taken")
	}
	for i := range s.waiting {
		if front := s.waiting[i].Front(); front != nil {
			s.give(s.waiting[i].Remove(front).(*Reservation)) //nolint:forcetypeassert // nothing else is in the lists
			return
		}
	}
	if s.lent > 0 { // the gate has its own back
		s.lendMore(-1)
		return
	}
	s.taken--
}

// Size returns how many there are.
func (s *Slots) Size() int { return s.size }

// Free returns how many nobody works in now: also those that the gate holds while it asks.
func (s *Slots) Free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size - s.taken + s.gate - s.lent
}

// Gate is the slots as the gate takes them: a slot that it holds for longer than a moment may be lent.
func (s *Slots) Gate() *Gate { return &Gate{s} }

// Gate is Slots for the gate that asks for deliveries.
type Gate struct{ slots *Slots }

// OnLoan makes tell hear whenever others begin to use slots of the gate, and whenever nobody does any more: in order, and before what
// causes it returns, so it must neither block nor call back. It is for one gate, once, before all else.
func (g *Gate) OnLoan(tell func(lent bool)) {
	g.slots.mu.Lock()
	defer g.slots.mu.Unlock()
	g.slots.onLoan = tell
}

// Acquire waits for a slot until ctx ends; then it returns the cause and holds none.
func (g *Gate) Acquire(ctx context.Context) error { return g.slots.Acquire(ctx, Asking) }

// TryAcquire takes a slot that is free now.
func (g *Gate) TryAcquire() bool {
	s := g.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.size {
		return false
	}
	s.taken++
	s.gate++
	s.since = time.Now()
	return true
}

// Release gives back a slot that no delivery came for.
func (g *Gate) Release() {
	g.slots.mu.Lock()
	defer g.slots.mu.Unlock()
	g.slots.leaveGate()
}

// Claim takes a slot over from the gate, for a delivery that came. It is false where that slot is on loan: who has the
// delivery must Acquire one.
func (g *Gate) Claim() bool {
	s := g.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mustHold()
	s.gate--
	if s.lent > s.gate {
		s.lendMore(-1)
		return false
	}
	return true
}

func (s *Slots) leaveGate() {
	s.mustHold()
	s.gate--
	if s.lent > s.gate {
		s.lendMore(-1)
		return
	}
	s.release()
}

func (s *Slots) mustHold() {
	if s.gate == 0 {
		panic("worker: the gate gave up a slot that it had not taken")
	}
}
