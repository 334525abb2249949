package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

const (
	reapLimit  = 100             // holdings that one script takes
	reapWord   = 3 * time.Second // without a word of who deals with a death, another one takes over
	reapTrips  = 6               // as many round trips later, so that a slow link does not make survivors take it from each other
	reapWithin = time.Minute     // for one death; what is left then is taken up at the next read
)

// ReaperConfig is what a Reaper works with. All fields are needed.
type ReaperConfig struct {
	Conn *conn.Conn
	Keys keys.Space
	ID   string // of the worker that it works in
	// Reap takes a part of what a worker holds in a shard; as group.Store's.
	Reap     func(ctx context.Context, shard int, d group.Death, limit int, items ...string) (group.Reaped, error)
	HandOver func(ctx context.Context, hs []record.HandOver) error
	Outbox   *Outbox
	Repairs  *Repairs // may be nil
	Log      *slog.Logger
}

// Reaper declares workers dead and has what they held delivered again. Any number may do so at once, each step is one script that
// happens once, and one that dies over it is followed by another. It is safe for concurrent use, Read excepted.
type Reaper struct {
	cfg   ReaperConfig
	judge judge
	ctx   context.Context //nolint:containedctx // ends with Close
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu   sync.Mutex
	busy map[string]bool // the dead that are being dealt with here
	gaps row             // before reads, of which the silence of others counts readsApart at most

	count struct{ dead, redelivered, loops atomic.Uint64 }
}

// ReaperStats counts since the start.
type ReaperStats struct {
	Gaps        uint64 // between reads that were too far apart, or in which Redis' clock or master changed
	Dead        uint64 // workers declared dead here
	Redelivered uint64 // tasks, members and tickets taken out of dead or forgetful hands here, to be delivered again
	CrashLoops  uint64 // tasks ended here since they killed their workers too often
}

// NewReaper returns a reaper that Read sets to work.
func NewReaper(cfg ReaperConfig) *Reaper {
	r := &Reaper{cfg: cfg, busy: make(map[string]bool)}
	r.ctx, r.stop = context.WithCancel(context.Background())
	return r
}

// Stats returns its counters.
func (r *Reaper) Stats() ReaperStats {
	return ReaperStats{Gaps: r.gaps.n.Load(), Dead: r.count.dead.Load(), Redelivered: r.count.redelivered.Load(), CrashLoops: r.count.loops.Load()}
}

// Close ends what it does and waits for that.
func (r *Reaper) Close() {
	r.mu.Lock()
	r.stop()
	r.mu.Unlock()
	r.wg.Wait()
}

// Read takes in what the answer to a beat says of the others, and deals with the dead in the background. It is called for one
// read after the other. True: somebody is late, so the next read should come soon.
func (r *Reaper) Read(reading Reading) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	silent, gap := r.judge.read(reading)
	if gap > 0 && r.gaps.one(reading.Answered) {
		r.cfg.Log.Warn("this worker's looks at the other workers are too far apart, or Redis' clock or master has changed; who dies meanwhile is found later",
			"worker", r.cfg.ID, "apart", gap.Round(time.Millisecond))
	}
	for _, q := range silent {
		if r.busy[q.ID] || r.ctx.Err() != nil {
			continue
		}
		r.busy[q.ID] = true
		r.wg.Go(func() {
			defer func() {
				r.mu.Lock()
				defer r.mu.Unlock()
				delete(r.busy, q.ID)
			}()
			ctx, stop := context.WithTimeout(r.ctx, reapWithin)
			defer stop()
			if err := r.examine(ctx, q); err != nil && r.ctx.Err() == nil {
				r.cfg.Log.Warn("could not deal with a worker that is silent; it is tried again", "worker", q.ID, "err", err)
			}
		})
	}
	return len(reading.Late) > 0
}

// examine declares a silent worker dead if nobody listens for it any more, or it is silent for too long, and buries it.
func (r *Reaper) examine(ctx context.Context, q quiet) error {
	if !q.connected {
		n, err := subscribers(ctx, r.cfg.Conn, r.cfg.Keys.Inbox(q.ID))
		if err != nil {
			return fmt.Errorf("subscription not known: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
	d := group.Death{Worker: q.ID, Beat: q.Beat}
	first, total := true, group.Reaped{}
	for shard := 0; shard < r.cfg.Keys.Shards(); {
		// A word before each part: it stays ours to deal with, and it has not beaten meanwhile.
		word, err := r.declare(ctx, q)
		if err != nil {
			return err
		}
		if word.busy || word.alive {
			return nil
		}
		d.Charged = !word.draining
		if first {
			first = false
			r.count.dead.Add(1)
			r.cfg.Repairs.Repaired(RepairDead, 1)
			r.cfg.Log.Warn("a worker is dead; what it held is delivered again", "worker", q.ID, "silent", q.silent.Round(time.Millisecond), "draining", word.draining)
		}
		got, err := r.part(ctx, shard, d)
		if err != nil {
			return err
		}
		if got.Revived {
			return nil
		}
		r.cfg.Repairs.Repaired(RepairTaken, got.Again)
		total.Again += got.Again
		total.CrashLoops += got.CrashLoops
		if got.Left == 0 {
			shard++
		}
	}
	r.cfg.Log.Info("a dead worker holds nothing any more", "worker", q.ID, "delivered_again", total.Again, "crash_loops", total.CrashLoops)
	return r.cfg.Conn.All(ctx, fleetCall(buryScript, r.cfg.Keys, q.ID, q.Beat))
}

// word is the answer to a declaration.
type word struct{ alive, busy, draining bool }

func (r *Reaper) declare(ctx context.Context, q quiet) (w word, err error) {
	call := fleetCall(declareScript, r.cfg.Keys, q.ID, q.Beat, r.cfg.ID, (reapWord + reapTrips*q.trip).Milliseconds())
	if err := r.cfg.Conn.All(ctx, call); err != nil {
		return w, err
	}
	reply := record.NewReply(call.Reply, nil)
	switch what := reply.Str(); what {
	case "alive":
		w.alive = true
	case "busy":
		w.busy = true
	case "dead":
		w.draining = reply.Int() == 1
	default:
		return w, errors.Join(reply.Err, fmt.Errorf("declare answered %q", what))
	}
	return w, reply.Err
}

// part reaps once in a shard and hands over what comes of it.
func (r *Reaper) part(ctx context.Context, shard int, d group.Death, items ...string) (group.Reaped, error) {
	got, err := r.cfg.Reap(ctx, shard, d, reapLimit, items...)
	if err != nil {
		return got, err
	}
	r.count.redelivered.Add(uint64(got.Again))
	r.count.loops.Add(uint64(got.CrashLoops))
	if got.Outbox {
		r.cfg.Outbox.Kick(shard)
	}
	if len(got.HandOvers) > 0 {
		if err := r.cfg.HandOver(ctx, got.HandOvers); err != nil {
			r.cfg.Log.Warn("could not enqueue what a worker had held; the fleet will", "worker", d.Worker, "err", err)
		}
	}
	return got, nil
}

// Return hands over what the reaper's own worker still holds at its end, nothing charged.
func (r *Reaper) Return(ctx context.Context, beat int64) error {
	for shard := 0; shard < r.cfg.Keys.Shards(); {
		got, err := r.part(ctx, shard, group.Death{Worker: r.cfg.ID, Beat: beat})
		if err != nil {
			return err
		}
		if got.Left == 0 {
			shard++
		}
	}
	return nil
}

// subscribers returns how many connections listen on a channel. In a cluster each master knows its own; one that does not answer
// is an error.
func subscribers(ctx context.Context, c *conn.Conn, channel string) (int64, error) {
	if cluster, ok := c.Redis().(*redis.ClusterClient); ok {
		var sum atomic.Int64
		err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
			n, err := master.PubSubNumSub(ctx, channel).Result()
			sum.Add(n[channel])
			return err
		})
		return sum.Load(), err
	}
	call := conn.NewCommand("pubsub", "numsub", channel)
	if err := c.All(ctx, call); err != nil {
		return 0, err
	}
	r := record.NewReply(call.Reply, nil)
	_ = r.Str()
	return r.Int(), r.Err
}
