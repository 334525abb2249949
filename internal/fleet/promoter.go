package fleet

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

const (
	dueLimit   = 100                    // pieces of open work a look takes at most
	dueEvery   = time.Second            // at least, of one shard; more shards are spread over more time
	dueSoonest = time.Millisecond       // between two looks that found nothing
	dueRate    = 4                      // looks a second without a reason, in all shards together
	overdue    = 150 * time.Millisecond // by which work is late when another than who leads looks
	calm       = 30                     // times as long between looks where nothing can be missed

	handOverWithin = 2 * time.Second        // then what is not marked is due again, under its next number
	handOverWait   = 100 * time.Millisecond // a look waits for its hand-overs so long; a queue may be out of reach, others are not
)

// PromoterConfig is what a Promoter works with. All fields are needed.
type PromoterConfig struct {
	Shards   int
	Due      func(ctx context.Context, shard, limit int) (record.Due, error)
	HandOver func(ctx context.Context, hs []record.HandOver) error
	Bind     func(ctx context.Context, group string) error
	Sweep    func(ctx context.Context, group string) error
	Outbox   *Outbox
	Clock    *Clock
	Seen     bool     // the beats see the shards: nobody has to look without a reason
	Calm     bool     // nothing can be missed: what looks for it may be slow (conn.Conn.Private)
	Repairs  *Repairs // may be nil
	Log      *slog.Logger
}

// Promoter moves open work whose time has come: it enqueues what was delayed, waits out a backoff or was never enqueued, ends
// what is overdue, and helps groups that need somebody. Whoever leads looks when the earliest is due, the others only when that is
// long over. Never early: what is due is decided by Redis' clock, in a script.
type Promoter struct {
	cfg  PromoterConfig
	wake chan struct{}

	mu      sync.Mutex
	leads   bool
	next    []time.Time // local; when to look into each shard; zero: not without a reason
	looking []bool      // into each shard, now
	helping map[string]struct{}
}

// NewPromoter returns a promoter that Run starts.
func NewPromoter(cfg PromoterConfig) *Promoter {
	n := max(cfg.Shards, 1)
	p := &Promoter{cfg: cfg, wake: make(chan struct{}, 1), next: make([]time.Time, n), looking: make([]bool, n), helping: make(map[string]struct{})}
	if !cfg.Seen {
		for i := range p.next {
			p.next[i] = time.Now()
		}
	}
	return p
}

// Wake says that something is due at a time of Redis' clock, in a shard that the message does not name.
func (p *Promoter) Wake(at time.Time) {
	local := time.Now().Add(p.cfg.Clock.Until(at))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leads {
		for shard := range p.next {
			p.sooner(shard, local)
		}
	}
}

// Missed says that messages may not have been heard.
func (p *Promoter) Missed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leads {
		for shard := range p.next {
			p.sooner(shard, time.Now())
		}
	}
}

// Told takes in what a beat says.
func (p *Promoter) Told(e Errands) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leads = e.Leads
	for shard, s := range e.Shards {
		if !s.Next.IsZero() && shard < len(p.next) && (e.Leads || e.Now.Sub(s.Next) > overdue) {
			p.sooner(shard, time.Now().Add(s.Next.Sub(e.Now)))
		}
	}
}

// sooner makes the next look into a shard come not later than that. The lock is held.
func (p *Promoter) sooner(shard int, at time.Time) {
	if next := p.next[shard]; next.IsZero() || at.Before(next) {
		p.next[shard] = at
		p.rouse()
	}
}

// rouse lets Run see what is to be done now.
func (p *Promoter) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// every is how often a shard is looked into without a reason.
func (p *Promoter) every() time.Duration {
	if p.cfg.Calm {
		return calm * dueEvery
	}
	return max(dueEvery, time.Duration(len(p.next))*time.Second/dueRate)
}

// Run works until ctx ends.
func (p *Promoter) Run(ctx context.Context) {
	var busy sync.WaitGroup
	defer busy.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-p.wake:
		}
		for _, shard := range p.ripe() {
			busy.Go(func() {
				p.look(ctx, shard, &busy)
				p.looked(shard)
			})
		}
		timer.Reset(p.pause())
	}
}

// looked says that a look is over: what came meanwhile waits for the next one.
func (p *Promoter) looked(shard int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looking[shard] = false
	p.rouse()
}

// ripe returns the shards whose time has come and that nobody looks into, and sets each to its next.
func (p *Promoter) ripe() (shards []int) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, at := range p.next {
		if at.IsZero() || at.After(now) || p.looking[i] {
			continue
		}
		p.next[i] = time.Time{}
		if !p.cfg.Seen {
			p.next[i] = now.Add(p.every())
		}
		if p.cfg.Seen || p.leads {
			p.looking[i] = true
			shards = append(shards, i)
		}
	}
	return shards
}

// pause is how long there is nothing to look for, unless something comes.
func (p *Promoter) pause() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	pause := time.Hour
	for i, at := range p.next {
		if !at.IsZero() && !p.looking[i] {
			pause = min(pause, time.Until(at))
		}
	}
	return max(pause, 0)
}

// look does what is due in a shard. What may take long (groups) goes on apart, in busy.
func (p *Promoter) look(ctx context.Context, shard int, busy *sync.WaitGroup) {
	for ctx.Err() == nil {
		d, err := p.cfg.Due(ctx, shard, dueLimit)
		if err != nil {
			p.cfg.Log.Warn("could not look for what is due", "shard", shard, "err", err)
			return
		}
		p.cfg.Repairs.Repaired(RepairHandOver, d.Late)
		if len(d.Broken) > 0 {
			p.cfg.Log.Error("open work cannot be read; were its records written to by hand?", "shard", shard, "count", len(d.Broken), "entries", d.Broken)
		}
		if d.Outbox {
			p.cfg.Outbox.Kick(shard)
		}
		if len(d.HandOvers) > 0 {
			p.handOver(ctx, shard, d.HandOvers, busy)
		}
		for _, g := range d.Groups {
			busy.Go(func() { p.help(ctx, g) })
		}
		if d.Next == 0 && len(d.HandOvers)+len(d.Groups)+len(d.Broken) >= dueLimit {
			continue
		}
		p.mu.Lock()
		if d.Next >= 0 && p.leads {
			p.sooner(shard, time.Now().Add(max(d.Next, dueSoonest)))
		}
		p.mu.Unlock()
		return
	}
}

// handOver enqueues what is due in a shard, each queue by itself, since queues may have different masters. What takes long goes on apart.
func (p *Promoter) handOver(ctx context.Context, shard int, hs []record.HandOver, busy *sync.WaitGroup) {
	queues := make(map[string][]record.HandOver, 1)
	for _, h := range hs {
		queues[h.Queue] = append(queues[h.Queue], h)
	}
	done := make(chan struct{}, len(queues))
	for queue, hs := range queues {
		busy.Go(func() {
			defer func() { done <- struct{}{} }()
			within, stop := context.WithTimeout(ctx, handOverWithin)
			defer stop()
			if err := p.cfg.HandOver(within, hs); err != nil {
				p.cfg.Log.Warn("could not enqueue what is due", "shard", shard, "queue", queue, "err", err)
			}
		})
	}
	wait := time.NewTimer(handOverWait)
	defer wait.Stop()
	for range queues {
		select {
		case <-done:
		case <-wait.C:
			return
		}
	}
}

// help does what a group needs, unless that is under way: where it takes long the group comes up again and again.
func (p *Promoter) help(ctx context.Context, g record.GroupDue) {
	p.mu.Lock()
	_, under := p.helping[g.ID]
	p.helping[g.ID] = struct{}{}
	p.mu.Unlock()
	if under {
		return
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.helping, g.ID)
	}()
	act, what, kind := p.cfg.Bind, "bind", RepairBind
	if g.Act == record.Sweep {
		act, what, kind = p.cfg.Sweep, "sweep", RepairSweep
	}
	if err := act(ctx, g.ID); err != nil {
		p.cfg.Log.Warn("could not help a group; it is tried again", "op", what, "group", g.ID, "err", err)
		return
	}
	p.cfg.Repairs.Repaired(kind, 1)
}
