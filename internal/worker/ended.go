package worker

import "github.com/gatherq/gatherq/internal/group"

// ended is what is on its way to the record.
type ended struct {
	ends *group.Ends
	ran  int // of these: have begun
}

// offer leaves it to the next pull to tell what a range has ended with; false if none comes. What no pull has taken along, the range
// tells at its next tick.
func (p *pump) offer(o *openRange) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pulls {
		p.ended = append(p.ended, o)
	}
	return p.pulls
}

// takeEnded returns what a pull is to tell along the way, of one range; the others tell it themselves.
func (p *pump) takeEnded() (of *openRange, last ended) {
	p.mu.Lock()
	offered := p.ended
	p.ended = nil
	p.mu.Unlock()
	for _, o := range offered {
		if of != nil {
			o.tellNow()
			continue
		}
		o.mu.Lock()
		t, ok := o.take()
		o.mu.Unlock()
		if ok {
			of, last = o, t
		}
	}
	return of, last
}

// over notes that the ticket is not this pump's any more.
func (p *pump) over() {
	p.state = ticketGone
	p.mu.Lock()
	p.pulls = false
	offered := p.ended
	p.ended = nil
	p.mu.Unlock()
	for _, o := range offered {
		o.tellNow()
	}
}
