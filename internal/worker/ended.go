package worker

import (
	"sync"

	"github.com/gatherq/gatherq/internal/group"
)

// ended is what is on its way to the record.
type ended struct {
	ends *group.Ends
	ran  int // of these: have begun
}

// endings are ranges of one group that have ended, until a pull with any of its tickets here tells what with. What no pull has taken
// along, a range tells at its next tick.
type endings struct {
	pumps int // that have it; guarded by runs.mu

	mu      sync.Mutex
	live    int // tickets that pull
	offered []*openRange
}

// begin notes that a ticket pulls.
func (e *endings) begin() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.live++
}

// offer leaves it to a pull to tell what a range has ended with; false if none comes.
func (e *endings) offer(o *openRange) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.live > 0 {
		e.offered = append(e.offered, o)
	}
	return e.live > 0
}

// take returns what a pull is to tell along the way, of the range that has waited longest.
func (e *endings) take() (of *openRange, last ended) {
	for {
		e.mu.Lock()
		if len(e.offered) == 0 {
			e.mu.Unlock()
			return nil, last
		}
		o := e.offered[0]
		e.offered[0] = nil
		e.offered = e.offered[1:]
		e.mu.Unlock()
		o.mu.Lock()
		t, ok := o.take() // false where its tick was faster
		o.mu.Unlock()
		if ok {
			return o, t
		}
	}
}

// over notes that a ticket does not pull any more. After the last one the ranges tell for themselves.
func (e *endings) over() {
	e.mu.Lock()
	var left []*openRange
	if e.live--; e.live == 0 {
		left, e.offered = e.offered, nil
	}
	e.mu.Unlock()
	for _, o := range left {
		o.tellNow()
	}
}

// over notes that the ticket is not this pump's any more.
func (p *pump) over() {
	p.state = ticketGone
	if p.pulls {
		p.pulls = false
		p.endings.over()
	}
}
