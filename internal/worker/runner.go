package worker

import (
	"slices"
	"time"
)

// needsRunner reports whether a further slot should work on the members that wait.
func (p *pump) needsRunner() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.waiting)
	if n <= p.fresh {
		return false
	}
	typ := p.waiting[0].job.Type
	if !p.w.sizes.short(typ) || time.Since(p.lastPop) >= stallAfter {
		return true
	}
	return time.Duration(p.runners)*shortRun < time.Duration(n)*p.w.sizes.mean(typ)
}

// runsLong reports whether members have a slot each.
func (p *pump) runsLong() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.long
}

func (p *pump) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting) == 0
}

// startRunner works on the members that wait, in a slot that it takes over.
func (p *pump) startRunner() {
	p.mu.Lock()
	p.runners++
	p.fresh++
	p.mu.Unlock()
	go p.work(time.Time{})
}

// work runs members in a slot until none is left, or what waits is for the slot that comes free next. last is when the one before began,
// zero if there was none.
func (p *pump) work(last time.Time) {
	done := false
	defer func() {
		if done {
			p.w.cfg.Slots.Release()
		} else {
			go p.work(last) // a handler called Goexit: its goroutine is gone, the slot and the others are still there
		}
	}()
	now := time.Now() // read once a member
	for {
		r := p.pop(last, now)
		if r == nil {
			done = true
			return
		}
		last = now
		now = r.exec(now)
	}
}

// pop returns the next member, nil if this runner is over.
func (p *pump) pop(last, now time.Time) *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	if last.IsZero() {
		p.fresh--
	} else {
		p.ended(last)
	}
	if len(p.waiting) == 0 || !last.IsZero() && p.long { // others may come first
		p.runners--
		return nil
	}
	r := p.waiting[0]
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	p.lastPop = now
	if p.long {
		p.begun = append(p.begun, now)
	}
	return r
}

// ended notes that a member that began then runs no more. The caller holds mu.
func (p *pump) ended(began time.Time) {
	if i := slices.IndexFunc(p.begun, began.Equal); i >= 0 { // else it was not thought to be long
		p.begun = slices.Delete(p.begun, i, i+1)
	}
}
