package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

const (
	// reconcileEvery is between the beginnings of two passes. What is lost right behind a pass is found by the next one, a worker that no list
	// names is dead 6 to 15 s after it was put back on the list, and all of that is to be done within 30 s.
	reconcileEvery = 10 * time.Second

	// reconcileSlow is the same after a pass that took longer than reconcileLong, since much is open: twice as long, half the cost.
	reconcileSlow = 20 * time.Second
	reconcileLong = time.Second

	// reconcilePause is between two pages of a pass: a page is three commands of some milliseconds in all, so a pass takes a small part of
	// Redis' time whatever it finds. Some 300,000 open tasks are looked through within 30 s; of more, a loss is found later.
	reconcilePause = 20 * time.Millisecond

	reconcilePage  = 500 // entries of the open work that one script looks at
	reconcileBatch = 100 // that one script changes
	reconcileNamed = 20  // IDs in a line of the log
)

// reasonArchived is why a task or group is cancelled whose delivery was archived by hand.
const reasonArchived = "archived in asynq"

// ReconcilerConfig is what a Reconciler works with. All fields but Repairs are needed.
type ReconcilerConfig struct {
	Conn    *conn.Conn
	Keys    keys.Space
	Records *record.Store
	Groups  *group.Store
	Carrier *carrier.Carrier
	Outbox  *Outbox
	Errands func() Errands // what the last beat said
	Repairs *Repairs       // may be nil
	Calm    bool           // as in PromoterConfig
	Log     *slog.Logger
}

// Reconciler compares the open work with what is there to finish it, and mends what is missing: deliveries that asynq lost, groups without
// tickets, ties between groups, holders that no list names. It only reads where nothing is lost. Every repair is one script that compares
// and sets, so several reconcilers do no harm, nor does one that was paused or that died: the next pass goes on. Methods but Run and Pass
// are its own; it is not safe for concurrent use.
type Reconciler struct {
	cfg ReconcilerConfig

	mu    sync.Mutex
	taken map[string]struct{} // messages that the pass before found in the hands of a server, unclaimed
}

// NewReconciler returns a reconciler that Run starts.
func NewReconciler(cfg ReconcilerConfig) *Reconciler {
	return &Reconciler{cfg: cfg}
}

// Run makes a pass every ten seconds while this worker leads, until ctx ends.
func (r *Reconciler) Run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	leads := func() bool { return r.cfg.Errands().Leads }
	for next := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !leads() || time.Now().Before(next) {
			continue
		}
		began := time.Now()
		if err := r.pass(ctx, leads); err != nil && ctx.Err() == nil {
			r.cfg.Log.Warn("could not look for lost work; it is tried again", "err", err)
		}
		every := reconcileEvery
		if time.Since(began) > reconcileLong+time.Duration(r.cfg.Keys.Shards())*reconcilePause {
			every = reconcileSlow
		}
		if r.cfg.Calm {
			every *= calm
		}
		next = began.Add(every)
	}
}

// Pass looks through all open work once, whoever leads, and mends what it finds. An error ends it; what was mended stays mended.
func (r *Reconciler) Pass(ctx context.Context) error {
	return r.pass(ctx, func() bool { return true })
}

// pass is one look through all open work. taken are the messages that a server has had since the pass before.
type pass struct {
	*Reconciler
	before, taken map[string]struct{}
	holders       map[string]struct{}
}

func (r *Reconciler) pass(ctx context.Context, leads func() bool) error {
	r.mu.Lock() // a pass of this process at a time
	defer r.mu.Unlock()
	p := &pass{Reconciler: r, before: r.taken, taken: make(map[string]struct{}), holders: make(map[string]struct{})}
	r.taken = nil
	for shard := range r.cfg.Keys.Shards() {
		for cursor, first := "0", true; first || cursor != "0"; first = false {
			if !leads() {
				return nil // another makes a pass of its own
			}
			entries, next, err := r.cfg.Records.Open(ctx, shard, cursor)
			if err != nil {
				return err
			}
			cursor = next
			for page := range slices.Chunk(entries, reconcilePage) {
				if err := p.page(ctx, shard, page); err != nil {
					return fmt.Errorf("shard %d: %w", shard, err)
				}
			}
			if cursor != "0" || shard+1 < r.cfg.Keys.Shards() {
				if err := sleep(ctx, reconcilePause); err != nil {
					return err
				}
			}
		}
	}
	r.taken = p.taken
	return p.relist(ctx)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// page looks at some entries of a shard's open work.
func (p *pass) page(ctx context.Context, shard int, entries []string) error {
	sent, err := p.cfg.Records.Sent(ctx, shard, entries)
	if err != nil {
		return err
	}
	for _, h := range sent.Holders {
		p.holders[h] = struct{}{}
	}
	byQueue := make(map[string][]record.HandOver)
	for _, h := range sent.Waiting {
		byQueue[h.Queue] = append(byQueue[h.Queue], h)
	}
	for queue, waiting := range byQueue {
		if err := p.deliveries(ctx, shard, queue, waiting); err != nil {
			return err
		}
	}
	return p.groups(ctx, shard, sent.Groups)
}

// deliveries asks asynq for the messages that work of a queue waits for.
func (p *pass) deliveries(ctx context.Context, shard int, queue string, waiting []record.HandOver) error {
	var ids []string
	seen := make(map[string]bool, len(waiting))
	for _, h := range waiting {
		if !seen[h.Message] {
			seen[h.Message] = true
			ids = append(ids, h.Message)
		}
	}
	fates, err := p.cfg.Carrier.Fates(ctx, queue, ids)
	if err != nil {
		return err
	}
	fate := make(map[string]carrier.Fate, len(ids))
	for i, id := range ids {
		fate[id] = fates[i]
		if fates[i] != carrier.Taken {
			continue
		}
		p.taken[id] = struct{}{}
		// Our own servers claim within moments, or hand back. What one of them had and lost, the strays put back into the queue.
		if _, long := p.before[id]; long {
			fate[id] = carrier.Astray
		}
	}
	lost := make(map[carrier.Fate][]record.HandOver)
	for _, h := range waiting {
		lost[fate[h.Message]] = append(lost[fate[h.Message]], h)
	}
	if err := p.archived(ctx, shard, queue, lost[carrier.Archived]); err != nil {
		return err
	}
	if err := p.again(ctx, shard, queue, lost[carrier.Gone], RepairVanished, "asynq does not have them any more"); err != nil {
		return err
	}
	if err := p.again(ctx, shard, queue, lost[carrier.Astray], RepairAstray, "another asynq server has had them; is one serving queues of this namespace?"); err != nil {
		return err
	}
	var astray []string
	for id, f := range fate {
		if f == carrier.Astray {
			astray = append(astray, id)
		}
	}
	if len(astray) == 0 {
		return nil
	}
	return p.cfg.Carrier.Discard(ctx, queue, astray)
}

// again hands over what waits for messages that will not come, under its next number.
func (p *pass) again(ctx context.Context, shard int, queue string, waiting []record.HandOver, kind Repair, why string) error {
	for batch := range slices.Chunk(waiting, reconcileBatch) {
		hs, err := p.cfg.Records.Again(ctx, shard, batch)
		if err != nil {
			return err
		}
		if len(hs) == 0 {
			continue // claimed meanwhile, or handed back
		}
		p.cfg.Repairs.Repaired(kind, len(hs))
		p.cfg.Log.Warn("deliveries were lost; they are made again", "why", why, "queue", queue, "count", len(hs), "ids", named(hs))
		p.handOver(ctx, hs)
	}
	return nil
}

// handOver enqueues what records wait for. Should that fail, the promoter does it: nobody has marked it.
func (p *pass) handOver(ctx context.Context, hs []record.HandOver) {
	if err := p.cfg.Carrier.HandOver(ctx, p.cfg.Records, hs); err != nil && ctx.Err() == nil {
		p.cfg.Log.Warn("could not enqueue what had been lost; the fleet will", "count", len(hs), "err", err)
	}
}

// archived ends what waits for messages that somebody has archived.
func (p *pass) archived(ctx context.Context, shard int, queue string, waiting []record.HandOver) error {
	reason := &record.Failure{Kind: string(record.Cancelled), Message: reasonArchived}
	for batch := range slices.Chunk(waiting, reconcileBatch) {
		n, groups, outbox, err := p.cfg.Records.Archived(ctx, shard, batch, reason)
		if err != nil {
			return err
		}
		if outbox {
			p.cfg.Outbox.Kick(shard)
		}
		if n > 0 {
			p.cfg.Repairs.Repaired(RepairArchived, n)
			p.cfg.Log.Info("deliveries were archived by hand; what they carried is cancelled", "queue", queue, "count", n, "groups", len(groups), "ids", named(batch))
		}
		for _, gid := range groups {
			if err := p.cfg.Groups.Sweep(ctx, gid); err != nil && ctx.Err() == nil {
				p.cfg.Log.Warn("could not sweep a group; it is tried again", "group", gid, "err", err)
			}
		}
	}
	return nil
}

// groups mends what groups lack: a ticket, ties to members from elsewhere.
func (p *pass) groups(ctx context.Context, shard int, gids []string) error {
	if len(gids) == 0 {
		return nil
	}
	for batch := range slices.Chunk(gids, reconcileBatch) {
		hs, err := p.cfg.Groups.Tickets(ctx, batch)
		if err != nil {
			return err
		}
		if len(hs) > 0 {
			p.cfg.Repairs.Repaired(RepairTicket, len(hs))
			p.cfg.Log.Warn("groups had unclaimed members and no ticket; they got one", "count", len(hs), "ids", named(hs))
			p.handOver(ctx, hs)
		}
	}
	for _, gid := range gids {
		for cursor, first := "0", true; first || cursor != "0"; first = false {
			if !first {
				if err := sleep(ctx, reconcilePause); err != nil {
					return err
				}
			}
			got, next, err := p.cfg.Groups.Relink(ctx, gid, cursor)
			if err != nil {
				return fmt.Errorf("group %s: %w", gid, err)
			}
			cursor = next
			for _, h := range got.Holders {
				p.holders[h] = struct{}{}
			}
			if n := len(got.Linked); n > 0 {
				p.cfg.Repairs.Repaired(RepairLink, n)
				p.cfg.Log.Warn("members from elsewhere had lost the link to their group; they are linked again", "group", gid, "count", n, "indexes", some(got.Linked))
			}
			if n := len(got.Ended); n > 0 {
				p.cfg.Repairs.Repaired(RepairUntold, n)
				p.cfg.Log.Warn("members from elsewhere had ended and their group had not heard; it has now", "group", gid, "count", n, "indexes", some(got.Ended))
			}
			if got.Outbox {
				p.cfg.Outbox.Kick(shard)
			}
		}
	}
	return nil
}

// relist puts those that hold something back on the list of workers where it does not name them. The reaper finds out whether they live.
func (p *pass) relist(ctx context.Context) error {
	if len(p.holders) == 0 {
		return nil
	}
	list := conn.NewCommand("zrange", p.cfg.Keys.Workers(), 0, -1)
	if err := p.cfg.Conn.All(ctx, list); err != nil {
		return err
	}
	for r := record.NewReply(list.Reply, nil); r.More(); {
		delete(p.holders, r.Str())
	}
	for worker := range p.holders {
		// It has passed the beats up to which it is known to have been revived: a death before them would not count.
		var looks []*conn.Call
		for shard := range p.cfg.Keys.Shards() {
			looks = append(looks, conn.NewCommand("scard", p.cfg.Keys.Holdings(shard, worker)), conn.NewCommand("get", p.cfg.Keys.Revived(shard, worker)))
		}
		if err := p.cfg.Conn.All(ctx, looks...); err != nil {
			return err
		}
		passed, holds := int64(0), int64(0)
		for i := 0; i < len(looks); i += 2 {
			n, _ := looks[i].Reply.(int64)
			holds += n
			text, _ := looks[i+1].Reply.(string)
			beat, _ := strconv.ParseInt(text, 10, 64)
			passed = max(passed, beat)
		}
		if holds == 0 {
			continue // it has left meanwhile, or was buried
		}
		put := fleetCall(relistScript, p.cfg.Keys, beatLife.Milliseconds(), worker, passed+1)
		if err := p.cfg.Conn.All(ctx, put); err != nil {
			return err
		}
		if back, _ := put.Reply.([]any); len(back) > 0 {
			p.cfg.Repairs.Repaired(RepairUnlisted, 1)
			p.cfg.Log.Warn("a worker holds tasks and was on no list; it is put back, and judged as all others", "worker", worker)
		}
	}
	return nil
}

// named are the IDs of some of what is handed over.
func named(hs []record.HandOver) (ids []string) {
	for _, h := range hs[:min(len(hs), reconcileNamed)] {
		if t := h.Delivery.Ticket; t != nil {
			ids = append(ids, t.Group)
		}
		for _, r := range h.Delivery.Refs {
			ids = append(ids, r.ID)
		}
	}
	return ids
}

func some(indexes []int) []int { return indexes[:min(len(indexes), reconcileNamed)] }
