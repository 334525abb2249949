package inbox

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// landing is what a flight brought back.
type landing struct {
	flight  uint32
	batch   []*entry
	left    time.Time
	answers []record.Answer
	missing []int // places in the batch that the error is about
	err     error
}

// run sends the flights, one at a time, and keeps the time.
func (b *Inbox) run() {
	landed := make(chan landing, 1)
	flying := false
	next := time.Now().Add(b.cfg.CheckEvery) // the next safety check
	begin := time.Now()
	timer := time.NewTimer(confirmBy)
	defer timer.Stop()
	for {
		b.mu.Lock()
		now := time.Now()
		if !b.listening && now.Sub(begin) >= confirmBy {
			b.listening = true
		}
		if now.After(next) || now.Equal(next) {
			next = now.Add(b.cfg.CheckEvery)
			b.checkAll()
			b.probe(now)
		}
		b.expire(now)
		if !flying && b.listening && len(b.queue)+len(b.checks) > 0 && !now.Before(b.notBefore) {
			batch, interests := b.take()
			if flight := b.flight; len(batch) > 0 {
				flying = true
				b.tasks.Go(func() {
					answers, missing, err := b.cfg.Watch(b.ctx, b.id, interests)
					landed <- landing{flight, batch, now, answers, missing, err}
				})
			}
		}
		timer.Reset(b.pause(now, begin, next, flying))
		b.mu.Unlock()
		select {
		case <-b.ctx.Done():
			return
		case <-b.wake:
		case <-timer.C:
		case l := <-landed:
			flying = false
			b.settle(l)
		}
	}
}

// pause is how long nothing happens by itself. An inbox that nobody waits at sleeps until it is woken.
func (b *Inbox) pause(now, begin, next time.Time, flying bool) time.Duration {
	if len(b.entries) == 0 {
		return time.Hour
	}
	d := next.Sub(now)
	if wait := b.notBefore.Sub(now); wait > 0 {
		d = min(d, wait)
	}
	if !b.listening {
		d = min(d, confirmBy-now.Sub(begin))
	}
	if flying { // Redis may be gone
		last, limit := b.patience()
		d = min(d, max(limit-now.Sub(last), 250*time.Millisecond))
	}
	return max(d, time.Millisecond)
}

// checkAll asks for a look at everything that rests.
func (b *Inbox) checkAll() {
	for _, e := range b.entries {
		if !e.flying && !e.queued && !e.checked {
			e.checked = true
			b.checks = append(b.checks, e)
		}
	}
}

// patience returns since when Redis has been silent, at the earliest the inbox' birth, and how long it may.
func (b *Inbox) patience() (last time.Time, limit time.Duration) {
	last, ever := b.cfg.LastAnswer()
	if !ever {
		return b.birth, min(b.cfg.Patience, FirstContact)
	}
	return last, b.cfg.Patience
}

// expire ends the awaits for which Redis has been silent too long, counted from when they came: all of it, or the master of a cluster that
// they are about.
func (b *Inbox) expire(now time.Time) {
	last, limit := b.patience()
	end := func(e *entry) {
		long := func(w *waiter) bool { return now.Sub(b.birth.Add(w.since)) >= limit }
		b.tellSome(e, nil, &UnavailableError{For: limit, Err: b.lastErr}, long)
	}
	if now.Sub(last) >= limit {
		for _, e := range b.entries {
			end(e)
		}
		return
	}
	for e, since := range b.silent {
		if now.Sub(since) >= limit {
			end(e)
		}
	}
}

// settle takes a flight in.
func (b *Inbox) settle(l landing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.lastErr = l.err
	if l.err == nil {
		b.misses = 0
	} else {
		b.notBefore = time.Now().Add(min(tryAgain<<min(b.misses, 10), tryAgainLast))
		b.misses++
	}
	missed := uint64(0)
	answers, missing, outbox := l.answers, l.missing, false
	for i, e := range l.batch {
		if len(missing) > 0 && missing[0] == i {
			missing = missing[1:]
			b.unanswered(e, l)
			continue
		}
		var a *record.Answer // of those that wait there is none
		if len(answers) > 0 && answers[0].Place == i {
			a, answers = &answers[0], answers[1:]
			if a.Overdue {
				b.repair("sweep", e.id, b.cfg.Sweep)
			}
			if a.Outbox && !outbox {
				b.repair("deliver the outbox", e.id, b.cfg.Deliver)
			}
			outbox = a.Outbox
		}
		if b.land(e, l.flight, a) {
			missed++
		}
	}
	if missed > 0 {
		b.stats.Lost += missed
		if b.suspect.IsZero() {
			b.suspect = time.Now()
			b.ping()
		}
	}
}

// unanswered takes in that a look has got none. The lock is held.
func (b *Inbox) unanswered(e *entry, l landing) {
	e.flying, e.again = false, false
	switch {
	case e.first == nil:
	case b.cfg.NoAnswer(l.err):
		if _, known := b.silent[e]; !known {
			b.silent[e] = l.left
		}
		b.enqueue(e)
	default:
		b.tell(e, nil, l.err)
	}
}

// repair does what an answer asked for, beside everything else: who waits is told by what it does.
// The same one is not begun again while it runs. The lock is held.
func (b *Inbox) repair(what, id string, f func(context.Context, string) error) {
	name := what + " " + id
	if b.repairs[name] {
		return
	}
	b.repairs[name] = true
	b.tasks.Go(func() {
		err := f(b.ctx, id)
		if err != nil && b.ctx.Err() == nil {
			b.cfg.Log.Warn("inbox: cannot "+what, "task_id", id, "error", err)
		}
		b.mu.Lock()
		delete(b.repairs, name)
		b.mu.Unlock()
	})
}

// probe replaces a subscription that missed something and did not answer its ping within a check's time.
func (b *Inbox) probe(now time.Time) {
	if b.suspect.IsZero() || now.Sub(b.suspect) < b.cfg.CheckEvery {
		return
	}
	b.suspect = time.Time{}
	if c := b.channel; c != nil {
		b.cfg.Log.Warn("inbox: the subscription is silent, subscribing again")
		b.tasks.Go(func() { _ = c.Close() })
	}
}

func (b *Inbox) ping() {
	if c := b.channel; c != nil {
		b.tasks.Go(func() { _ = c.Ping(b.ctx) })
	}
}

// listen receives until the inbox is closed.
func (b *Inbox) listen() {
	for try := 0; b.ctx.Err() == nil; try++ {
		c := b.cfg.Open(b.id)
		b.mu.Lock()
		b.channel = c
		closed := b.closed
		b.mu.Unlock()
		if !closed {
			b.receive(c, &try)
		}
		_ = c.Close()
		b.sleep(try)
	}
}

// receive takes in what a subscription brings, until that is closed.
func (b *Inbox) receive(c Channel, try *int) {
	for ; ; *try++ {
		event, err := c.Receive(b.ctx)
		if b.ctx.Err() != nil {
			return
		}
		if err != nil {
			b.cfg.Failed(err)
			b.mu.Lock()
			b.lastErr, b.listening = err, true
			b.mu.Unlock()
			b.poke()
			if c.Closed() {
				return
			}
			b.sleep(*try)
			continue
		}
		*try = 0
		b.cfg.Heard()
		b.mu.Lock()
		b.suspect = time.Time{}
		b.mu.Unlock()
		switch event.Kind {
		case Subscribed:
			b.subscribed()
		case Message:
			b.message(event.Payload)
		case Pong:
		}
	}
}

// subscribed notes that notices come from now on. What was outstanding before may have been told to nobody.
func (b *Inbox) subscribed() {
	b.mu.Lock()
	if b.confirmed {
		b.stats.Reconnects++
		b.expectNothing()
		for _, e := range b.entries {
			b.enqueue(e)
		}
	}
	b.confirmed, b.listening = true, true
	b.mu.Unlock()
	b.poke()
}

// sleep waits between tries, with jitter; it ends with the inbox.
func (b *Inbox) sleep(try int) {
	timer := time.NewTimer(rand.N(min(20*time.Millisecond<<min(try, 6), time.Second)) + time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-b.ctx.Done():
	}
}
