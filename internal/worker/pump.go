package worker

import (
	"context"
	"crypto/rand"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

const (
	notYetFirst = 2 * time.Millisecond  // until a group that is not committed is asked for again: mostly its commit follows at once
	notYetLast  = 50 * time.Millisecond // the same, doubled from time to time
	holdFirst   = 50 * time.Millisecond // with a ticket, before others that wait are looked for
	holdLast    = time.Second           // between looks that found nobody
	stallAfter  = 5 * time.Millisecond  // with short members waiting behind one that is not short: they get a slot of their own, if one is free

	stalledAfter = 50 * time.Millisecond // without a slot for any of them: they go back
)

// pump turns one ticket of a group into running members: it pulls ranges while it gets slots for them.
//
// Members that run long get a slot each. Short ones of a range share a slot and run one after the other; should one of them
// turn out not to be short, the others get a slot of their own, so that a straggler holds up nobody.
type pump struct {
	w       *Worker
	ticket  record.Ticket
	queue   string
	endings *endings   // of its group here
	claimed chan error // told and nil once the ticket is claimed, or is not ours to claim, or can be neither; holds one

	state ticketState // owned by the goroutine of run, as is what follows
	held  bool        // the group knows this worker as the ticket's holder
	typ   string      // met last
	pulls bool        // ranges may leave it to a pull to tell what they end with
	early int         // times in a row that the group was not committed yet

	mu      sync.Mutex
	waiting []*run // members of ranges that have not started, in order
	runners int    // slots that work on waiting
	fresh   int    // of these: have not taken a member yet
	lastPop time.Time
}

// ticketState is how a ticket stands with its pump.
type ticketState int

const (
	ticketLive   ticketState = iota
	ticketNotYet             // its group is not committed yet
	ticketGone               // used up, passed on or stale
)

// run works until the ticket is used up or passed on and all members have started. It begins with one slot in hand.
func (p *pump) run() {
	w := p.w
	slot := true // in hand
	p.pulls = true
	p.endings.begin()
	var place *Reservation
	look, pause := time.NewTimer(holdFirst), holdFirst
	defer look.Stop()
	for !w.Draining() {
		if slot {
			slot = false
			switch {
			case p.needsRunner():
				p.startRunner()
			case p.state == ticketLive:
				p.pull()
			default:
				w.cfg.Slots.Release()
			}
			continue
		}
		idle := p.idle()
		if p.state == ticketGone && idle {
			break
		}
		place = p.reserve(place)
		var got <-chan struct{}
		if place != nil {
			got = place.Got()
		}
		var tick <-chan time.Time
		switch {
		case p.state == ticketNotYet:
			tick = time.After(min(notYetFirst<<min(p.early, 10), notYetLast))
		case !idle:
			tick = time.After(stallAfter)
		}
		select {
		case <-got:
			slot, place = true, nil
		case <-tick:
			switch {
			case p.state == ticketNotYet:
				p.state = ticketLive
				p.early++
			case p.stalled():
				p.giveWaiting()
				if place != nil { // it was for them
					place.Cancel()
					place = nil
				}
			}
		case <-w.pull.Done():
		case <-look.C:
			if p.state == ticketLive {
				p.yield()
			}
			pause = min(2*pause, holdLast)
			look.Reset(pause)
		}
	}
	if slot {
		w.cfg.Slots.Release()
	}
	if place != nil {
		place.Cancel()
	}
	if w.Draining() {
		p.drain()
	}
	p.acknowledge(nil)
}

// reserve returns the place in the queue for a slot that the pump needs next, which may be the one that it has; nil if it needs none.
func (p *pump) reserve(place *Reservation) *Reservation {
	at := Pulling // for more, or for what was taken for the slot that comes free next, which a single task may have first
	switch {
	case p.needsRunner():
		if p.w.sizes.short(p.typ) {
			at = Claimed // behind one that turned out to be long
		}
	case place != nil || p.state != ticketLive:
		return place
	}
	if place != nil && place.at > at {
		place.Cancel()
		place = nil
	}
	if place == nil {
		place = p.w.cfg.Slots.Reserve(at)
	}
	return place
}

// acknowledge lets Deliver return, the first time. An error that comes later, or for a ticket that the group knows here, is one
// that no message comes again for.
func (p *pump) acknowledge(err error) {
	if err != nil && (p.claimed == nil || p.held) {
		p.w.untold.Add(1)
	}
	if p.claimed != nil {
		p.claimed <- err
		p.claimed = nil
	}
}

// pull takes the next range, and starts it in the slot in hand, which it uses or releases.
func (p *pump) pull() {
	w := p.w
	slots, want := 1, w.sizes.want(p.typ, w.cfg.Slots.Size())
	for !w.sizes.short(p.typ) && slots < want && w.cfg.Slots.TryAcquire() {
		slots++ // those that get none wait here for the next that is free: for less than rangeWork, or they go back
	}
	var got group.Pull
	nonce, tries := rand.Text(), 0
	o, last := p.endings.take()
	var settled record.Settled
	err := w.tell("pull", p.ticket.Group, func(ctx context.Context) (err error) {
		tries++
		got, settled, err = w.cfg.Groups.Next(ctx, w.cfg.ID, p.ticket, nonce, want, last.ends)
		return err
	})
	if o != nil {
		o.told(last, settled, w.counts("settle range", o.ref(), last.ends.Len(), settled, tries, err))
	}
	switch {
	case err != nil:
		w.cfg.Log.Error("a ticket is dropped", "group", p.ticket.Group, "err", err)
		p.over()
	case got.Status == group.NotYet:
		p.state = ticketNotYet
	case got.Status == group.GotRange:
		p.held, p.early = true, 0
		p.take(p.openRange(got.Range))
	default: // Empty, Stale, Full
		if got.Status == group.Stale {
			w.count.dropped[0].Add(1)
		}
		w.cfg.Log.Debug("a ticket is over", "group", p.ticket.Group, "place", p.ticket.Place, "delivery", p.ticket.Number, "stale", got.Status == group.Stale, "full", got.Status == group.Full)
		p.over()
	}
	p.acknowledge(err)
	for ; slots > 0 && p.needsRunner(); slots-- {
		p.startRunner()
	}
	for ; slots > 0; slots-- {
		w.cfg.Slots.Release()
	}
	w.goOn(got.Others)
}

// take queues the members of a range; those that need no handler, or have none here, are decided at once.
func (p *pump) take(o *openRange) {
	w := p.w
	ready := make([]*run, 0, len(o.r.Members))
	var profile *group.Profile // of the member before: mostly of all
	var handler Handler
	var options record.Options
	now := time.Now()
	for i := range o.r.Members {
		m := &o.r.Members[i]
		if m.Profile != profile {
			profile, handler, options = m.Profile, w.cfg.Handlers[m.Type], w.options(m.Options)
		}
		switch {
		case m.Reason != nil:
			o.end(&record.Outcome{Index: m.Index, State: record.Cancelled, Failure: m.Reason, Attempt: 1, FinishedAt: w.cfg.Redis(now)}, 0)
		case handler == nil || !record.Knows(m.Args):
			o.alone(m.Index, verdict{act: actGiveBack, delay: unknownFirst}, nil)
			o.decided(1)
		case o.r.Crashes >= record.Suspect:
			o.apart(m.Index)
			o.decided(1)
		default:
			ready = append(ready, o.add(m, keys.Member(o.r.Group, m.Index), handler, options))
			p.typ = m.Type
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, ready...)
	p.lastPop = now
}

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
	go p.work(true)
}

func (p *pump) work(fresh bool) {
	done := false
	defer func() {
		if done {
			p.w.cfg.Slots.Release()
		} else {
			go p.work(false) // a handler called Goexit: its goroutine is gone, the slot and the others are still there
		}
	}()
	now := time.Now() // read once a member
	for {
		r := p.pop(fresh, now)
		if fresh = false; r == nil {
			done = true
			return
		}
		now = r.exec(now)
	}
}

// pop returns the next member, nil if there is none: then this runner is over.
func (p *pump) pop(fresh bool, now time.Time) *run {
	p.mu.Lock()
	defer p.mu.Unlock()
	if fresh {
		p.fresh--
	}
	if len(p.waiting) == 0 {
		p.runners--
		return nil
	}
	r := p.waiting[0]
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	p.lastPop = now
	return r
}

// yield lets others that wait have the ticket, at the tail of its queue.
func (p *pump) yield() {
	w := p.w
	deliveries, workers := w.waiting.ask(w, p.queue)
	if deliveries == 0 && workers == 0 {
		return
	}
	var kept bool
	var s record.Settled
	err := w.tell("yield ticket", p.ticket.Group, func(ctx context.Context) (err error) {
		kept, s, err = w.cfg.Groups.YieldTicket(ctx, w.cfg.ID, p.ticket, deliveries, workers)
		return err
	})
	if err != nil || !kept {
		p.passed(s, err)
	}
}

// give puts the ticket to the tail of its queue.
func (p *pump) give() {
	w := p.w
	var s record.Settled
	err := w.tell("pass ticket", p.ticket.Group, func(ctx context.Context) (err error) {
		s, err = w.cfg.Groups.PassTicket(ctx, w.cfg.ID, p.ticket)
		return err
	})
	p.passed(s, err)
}

// passed notes that the group has the ticket back, or could not be told so.
func (p *pump) passed(s record.Settled, err error) {
	w := p.w
	p.over()
	if err != nil {
		w.cfg.Log.Error("a ticket could not be passed on", "group", p.ticket.Group, "err", err)
		p.acknowledge(err)
		return
	}
	if !s.Applied && !p.held { // nobody holds it yet, perhaps its group is not even there: it goes back as it is
		if err := w.handBack(p.queue, record.Delivery{Ticket: &p.ticket}); err != nil {
			p.acknowledge(err)
		}
	}
	w.follow(p.ticket.Group, s)
}

// drain gives the ticket and the members that have not started back.
func (p *pump) drain() {
	if p.state != ticketGone {
		p.give()
	}
	p.giveWaiting()
}

// stalled reports whether members have waited long, behind others that all run longer than was to be expected.
func (p *pump) stalled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.waiting) > 0 && time.Since(p.lastPop) >= stalledAfter
}

// giveWaiting gives the members that have not started back: whoever has a slot takes them before all others.
func (p *pump) giveWaiting() {
	p.mu.Lock()
	waiting := p.waiting
	p.waiting = nil
	p.mu.Unlock()
	back := make(map[*openRange][]int)
	for _, r := range waiting {
		back[r.of] = append(back[r.of], r.job.Index)
	}
	for o, indexes := range back {
		o.giveBack(indexes, nil)
		o.decided(len(indexes))
	}
}
