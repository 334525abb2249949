package carrier

import (
	"context"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
)

// settled is how long a name must have been among the parked to stand for a worker that has a free slot: where others use the slots, the
// one that waits is theirs, too, a moment later.
const settled = 50 * time.Millisecond

// Waiting returns who waits in a queue: how many deliveries for workers, and how many workers other than this one have a
// free slot for a delivery. Who holds a ticket asks whether to let others have it.
func (s *Server) Waiting(ctx context.Context, queue string) (deliveries, workers int, err error) {
	g := s.gate
	pending := conn.NewCommand("llen", asynqPrefix(g.keys.AsynqQueue(queue))+"pending")
	parked := &conn.Call{Script: freeScript, Keys: []string{g.keys.Parked(queue)}, Args: []any{g.own, onLoan, g.counts().Milliseconds(), settled.Milliseconds()}}
	if err := g.conn.All(ctx, pending, parked); err != nil {
		return 0, 0, fmt.Errorf("queue %s: %w", queue, err)
	}
	n, _ := pending.Reply.(int64)
	free, _ := parked.Reply.(int64)
	return int(n), int(free), nil
}

// loan notes that others began to use the gate's slot, or ceased to; of the end only if it lasts: between two of their runs the slot is free
// for a moment.
func (g *gate) loan(lent bool) {
	g.lent.Store(lent)
	if lent {
		go g.retell()
	} else {
		time.AfterFunc(settled/2, g.retell)
	}
}

// retell tells at the bells whether others use the slot of a parked gate.
func (g *gate) retell() {
	g.retelling.Lock()
	defer g.retelling.Unlock()
	before, lent := g.waiting(), g.lent.Load()
	if g.full.Load() == lent {
		return
	}
	g.full.Store(lent)
	name := g.waiting()
	if !g.parked.Load() || g.ctx.Err() != nil { // it tells its name when it parks
		return
	}
	parked := make([]string, len(g.queues))
	for i, q := range g.queues {
		parked[i] = g.keys.Parked(q)
	}
	ctx, cancel := context.WithTimeout(g.ctx, time.Second) // without Redis the name comes with a later parking, or a beat
	defer cancel()
	_ = g.conn.Do(ctx, &conn.Call{Script: renameScript, Keys: parked, Args: []any{before, name, g.counts().Milliseconds()}})
}
