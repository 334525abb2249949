package worker

import "time"

// How long before a long member is to end, by how long members ran here lately, the one that follows it is taken: at most so long, and at
// most this part of it. Without it a slot is empty for a round trip after each member and, where many end together, until all have been
// pulled for.
const (
	aheadMost  = 20 * time.Millisecond
	aheadShare = 5
)

// ahead returns how many members to take for slots that come free within a moment, and if there are none, how long it is until there may
// be some; 0 is never. Whoever takes them calls landed.
//
// What was taken waits behind the gate, as a pull does. Where a member runs longer than was to be expected no slot comes; then what was
// taken for it goes back (see stalledAfter), and nothing is taken for it again.
func (p *pump) ahead() (due int, next time.Duration) {
	if p.state != ticketLive || p.capped { // in a capped group it would hold the permit of one that can run
		return 0, 0
	}
	if mean := p.w.sizes.mean(p.typ); mean > 0 && p.w.sizes.long(p.typ) {
		return p.hand.ahead(time.Now(), mean)
	}
	return 0, 0
}

func (h *hand) ahead(now time.Time, mean time.Duration) (due int, next time.Duration) {
	lead := min(mean/aheadShare, aheadMost)
	h.mu.Lock()
	defer h.mu.Unlock()
	due = -h.flight
	for _, p := range h.tickets {
		p.mu.Lock()
		due -= len(p.waiting)
		for _, began := range p.begun {
			switch left := mean - now.Sub(began); {
			case left < -lead: // nobody knows when
			case left <= lead:
				due++
			case next == 0 || left-lead < next:
				next = left - lead
			}
		}
		p.mu.Unlock()
	}
	if due <= 0 {
		return 0, next
	}
	h.flight += due
	return due, 0
}

// landed notes that what was to be taken ahead is here, or does not come.
func (h *hand) landed(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.flight -= n
}
