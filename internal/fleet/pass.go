package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// errFollows ends a pass of one that does not lead any more.
var errFollows = errors.New("another worker leads")

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
	order := r.order()
	r.taken, r.failed = nil, make(map[int]bool)
	var failures []error
	for _, shard := range order {
		err := p.shard(ctx, shard, leads)
		switch {
		case errors.Is(err, errFollows):
			return nil // another makes a pass of its own
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil: // its master may be gone: the others' are not
			r.failed[shard] = true
			failures = append(failures, fmt.Errorf("shard %d: %w", shard, err))
		}
	}
	r.taken = p.taken
	return errors.Join(append(failures, p.relist(ctx))...)
}

// order has the shards that failed last at the end: where each waits for a master that does not answer, the others need not.
func (r *Reconciler) order() (shards []int) {
	var last []int
	for shard := range r.cfg.Keys.Shards() {
		if r.failed[shard] {
			last = append(last, shard)
		} else {
			shards = append(shards, shard)
		}
	}
	return append(shards, last...)
}

// shard looks through the open work of one. A page that fails keeps none of the others waiting.
func (p *pass) shard(ctx context.Context, shard int, leads func() bool) error {
	var failures []error
	for cursor, first := "0", true; first || cursor != "0"; first = false {
		if !leads() {
			return errFollows
		}
		entries, next, err := p.cfg.Records.Open(ctx, shard, cursor)
		if err != nil {
			return errors.Join(append(failures, err)...)
		}
		cursor = next
		for page := range slices.Chunk(entries, reconcilePage) {
			if err := p.page(ctx, shard, page); err != nil {
				failures = append(failures, err)
			}
		}
		if cursor != "0" || shard+1 < p.cfg.Keys.Shards() {
			if err := sleep(ctx, reconcilePause); err != nil {
				return err
			}
		}
	}
	return errors.Join(failures...)
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
	var failures []error
	for queue, waiting := range byQueue { // each may have a master of its own
		if err := p.deliveries(ctx, shard, queue, waiting); err != nil {
			failures = append(failures, fmt.Errorf("queue %q: %w", queue, err))
		}
	}
	return errors.Join(append(failures, p.groups(ctx, shard, sent.Groups))...)
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
	var failures []error
	for _, gid := range gids {
		if err := p.ties(ctx, shard, gid); err != nil {
			failures = append(failures, fmt.Errorf("group %s: %w", gid, err))
		}
	}
	return errors.Join(failures...)
}

// ties mends those between a group and its members from elsewhere.
func (p *pass) ties(ctx context.Context, shard int, gid string) error {
	for cursor, first := "0", true; first || cursor != "0"; first = false {
		if !first {
			if err := sleep(ctx, reconcilePause); err != nil {
				return err
			}
		}
		got, next, err := p.cfg.Groups.Relink(ctx, gid, cursor)
		if err != nil {
			return err
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
