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
// Members that run long get a slot each, and those that follow them are taken a moment before they end (ahead.go). Short ones of a range share a slot and run one after the other; should one of them
// turn out not to be short, the others get a slot of their own, so that a straggler holds up nobody.
type pump struct {
	w       *Worker
	ticket  record.Ticket
	queue   string
	hand    *hand      // of its group here
	claimed chan error // told and nil once the ticket is claimed, or is not ours to claim, or can be neither; holds one

	state  ticketState // owned by the goroutine of run, as is what follows
	held   bool        // the group knows this worker as the ticket's holder
	typ    string      // met last
	pulls  bool        // ranges may leave it to a pull to tell what they end with
	capped bool        // no more than some of the group may run at once
	early  int         // times in a row that the group was not committed yet

	mu      sync.Mutex
	waiting []*run // members of ranges that have not started, in order
	runners int    // slots that work on waiting
	fresh   int    // of these: have not taken a member yet
	lastPop time.Time
	long    bool        // members have a slot each, by the range that was taken last
	begun   []time.Time // of those, while they run
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
	p.hand.begin()
	var place *Reservation
	look, pause := time.NewTimer(holdFirst), holdFirst
	defer look.Stop()
	for !w.Draining() {
		if slot {
			slot = false
			switch {
			case p.needsRunner():
				p.startRunner()
			case p.hand.startRunner():
			case p.state == ticketLive:
				p.pullFor()
			default:
				w.cfg.Slots.Release()
			}
			continue
		}
		idle := p.idle()
		if p.state == ticketGone && idle {
			break
		}
		due, next := p.ahead()
		if due > 0 {
			p.pull(0, due, evenly)
			p.hand.landed(due)
			continue
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
		case next > 0:
			tick = time.After(next)
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

// pullFor takes the next range for the slot in hand, and for others that are free.
func (p *pump) pullFor() {
	slots, want, share := 1, p.w.sizes.want(p.typ, p.w.cfg.Slots.Size()), 0
	if p.w.sizes.long(p.typ) {
		want, share = together, evenly
	}
	for !p.w.sizes.short(p.typ) && slots < want && p.w.cfg.Slots.TryAcquire() {
		slots++
	}
	if share > 0 {
		want = slots
	} // else those that get none wait here for the next that is free: for less than rangeWork, or they go back
	p.pull(slots, want, share)
}

// pull takes the next range, and starts it in the slots in hand, which it uses or releases.
func (p *pump) pull(slots, want, share int) {
	w := p.w
	var got group.Pull
	nonce, tries := rand.Text(), 0
	o, last := p.hand.take()
	var settled record.Settled
	err := w.tell("pull", p.ticket.Group, func(ctx context.Context) (err error) {
		tries++
		got, settled, err = w.cfg.Groups.Next(ctx, w.cfg.ID, p.ticket, nonce, want, share, last.ends)
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
		p.held, p.early, p.capped = true, 0, got.Range.Capped
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
		case o.r.Lost:
			gone := &record.Failure{Kind: string(record.Lost), Message: "its arguments are gone"}
			o.end(&record.Outcome{Index: m.Index, State: record.Lost, Failure: gone, Attempt: 1, FinishedAt: w.cfg.Redis(now)}, 0)
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
	long := w.sizes.long(p.typ)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.long = long
	p.waiting = append(p.waiting, ready...)
	p.lastPop = now
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
