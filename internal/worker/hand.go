package worker

import (
	"slices"
	"sync"

	"github.com/gatherq/gatherq/internal/group"
)

// ended is what is on its way to the record.
type ended struct {
	ends *group.Ends
	ran  int // of these: have begun
}

// hand is the tickets of one group that this worker holds, and what they have in common: a slot goes to the long member that any of them has waiting, and
// what ranges have ended with is told along with the next pull of any. What no pull has taken along, a range tells at its next tick.
type hand struct {
	mu      sync.Mutex
	tickets []*pump
	live    int // of these: pull
	offered []*openRange
	flight  int // members that are being taken ahead
}

func (h *hand) add(p *pump) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.tickets = append(h.tickets, p)
}

// remove returns how many are left.
func (h *hand) remove(p *pump) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.tickets, p)
	h.tickets = slices.Delete(h.tickets, i, i+1)
	return len(h.tickets)
}

// startRunner uses a slot for a long member that any ticket has waiting; false where there is none. Short ones have runners enough: more of
// them at once only makes each range last longer.
func (h *hand) startRunner() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.tickets {
		if p.runsLong() && p.needsRunner() {
			p.startRunner()
			return true
		}
	}
	return false
}

// begin notes that a ticket pulls.
func (h *hand) begin() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.live++
}

// offer leaves it to a pull to tell what a range has ended with; false if none comes.
func (h *hand) offer(o *openRange) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.live > 0 {
		h.offered = append(h.offered, o)
	}
	return h.live > 0
}

// take returns what a pull is to tell along the way, of the range that has waited longest.
func (h *hand) take() (of *openRange, last ended) {
	for {
		h.mu.Lock()
		if len(h.offered) == 0 {
			h.mu.Unlock()
			return nil, last
		}
		o := h.offered[0]
		h.offered[0] = nil
		h.offered = h.offered[1:]
		h.mu.Unlock()
		o.mu.Lock()
		t, ok := o.take() // false where its tick was faster
		o.mu.Unlock()
		if ok {
			return o, t
		}
	}
}

// over notes that a ticket does not pull any more. After the last one the ranges tell for themselves.
func (h *hand) over() {
	h.mu.Lock()
	var left []*openRange
	if h.live--; h.live == 0 {
		left, h.offered = h.offered, nil
	}
	h.mu.Unlock()
	for _, o := range left {
		o.tellNow()
	}
}

// over notes that the ticket is not this pump's any more.
func (p *pump) over() {
	p.state = ticketGone
	if p.pulls {
		p.pulls = false
		p.hand.over()
	}
}
