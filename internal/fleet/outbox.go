package fleet

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// OutboxConfig is what an Outbox works with. All fields are needed.
type OutboxConfig struct {
	Shards int
	// Deliver tells what waits in a shard's outbox; Late only what is at least so old, and says how much that was.
	Deliver func(ctx context.Context, shard int) error
	Late    func(ctx context.Context, shard int, age time.Duration) (told int, err error)
	Errands func() Errands // what the last beat said
	Calm    bool           // as in PromoterConfig
	Repairs *Repairs       // may be nil
	Log     *slog.Logger
}

// Outbox tells ends that wait in the shards' outboxes to those who wait for them. It is safe for concurrent use.
type Outbox struct {
	cfg    OutboxConfig
	ctx    context.Context //nolint:containedctx // ends with Close
	cancel context.CancelFunc
	mu     sync.Mutex
	shards map[int]*outboxShard
	wg     sync.WaitGroup
	closed bool
}

type outboxShard struct{ busy, again bool }

const (
	outboxRetry = 500 * time.Millisecond // after a delivery that failed
	outboxClose = 2 * time.Second        // for deliveries under way at the end
	outboxLate  = 2 * time.Second        // the age at which an entry's deliverer is taken for gone
	outboxEvery = 4 * time.Second        // between looks for such entries in one shard
	outboxRate  = 250 * time.Millisecond // between looks; so in 64 shards it is 16 s
)

// NewOutbox returns an outbox; Run is only for what others left.
func NewOutbox(cfg OutboxConfig) *Outbox {
	o := &Outbox{cfg: cfg, shards: make(map[int]*outboxShard)}
	o.ctx, o.cancel = context.WithCancel(context.Background())
	return o
}

// Run looks for entries whose deliverer is gone, one shard after the other, until ctx ends: while this worker leads, and where
// there are entries at all.
func (o *Outbox) Run(ctx context.Context) {
	n := max(o.cfg.Shards, 1)
	every := max(outboxEvery/time.Duration(n), outboxRate)
	if o.cfg.Calm {
		every *= calm
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for shard := 0; ; shard = (shard + 1) % n {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		e := o.cfg.Errands()
		if !e.Leads || shard < len(e.Shards) && !e.Shards[shard].Outbox {
			continue
		}
		told, err := o.cfg.Late(ctx, shard, outboxLate)
		o.cfg.Repairs.Repaired(RepairOutbox, told)
		if err != nil && ctx.Err() == nil {
			o.cfg.Log.Warn("could not look for late entries of an outbox", "shard", shard, "err", err)
		}
	}
}

// Kick says that something waits in a shard's outbox. It does not block: what comes while a delivery runs is told by one more.
func (o *Outbox) Kick(shard int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	s := o.shards[shard]
	if s == nil {
		s = &outboxShard{}
		o.shards[shard] = s
	}
	if s.busy {
		s.again = true
		return
	}
	s.busy = true
	o.wg.Go(func() { o.work(shard, s) })
}

func (o *Outbox) work(shard int, s *outboxShard) {
	for {
		if err := o.cfg.Deliver(o.ctx, shard); err != nil {
			o.cfg.Log.Warn("outbox not told, trying again", "shard", shard, "err", err)
			select {
			case <-time.After(outboxRetry):
			case <-o.ctx.Done():
			}
			o.mu.Lock()
			s.again = true
			o.mu.Unlock()
		}
		o.mu.Lock()
		if !s.again || o.closed {
			s.busy = false
			o.mu.Unlock()
			return
		}
		s.again = false
		o.mu.Unlock()
	}
}

// Close takes no more, and waits a little for deliveries under way.
func (o *Outbox) Close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	late := time.AfterFunc(outboxClose, o.cancel)
	defer late.Stop()
	o.wg.Wait()
	o.cancel()
}
