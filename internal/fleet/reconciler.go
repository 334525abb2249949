package fleet

import (
	"context"
	"log/slog"
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

	mu     sync.Mutex
	taken  map[string]struct{} // messages that the pass before found in the hands of a server, unclaimed
	failed map[int]bool        // shards that the pass before could not look through
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

// Pass looks through all open work once, whoever leads, and mends what it finds. A shard that fails keeps none of the others waiting: its error
// is among those that Pass returns. What was mended stays mended.
func (r *Reconciler) Pass(ctx context.Context) error {
	return r.pass(ctx, func() bool { return true })
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
