package carrier

import (
	_ "embed"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// The doorbell. A parked worker blocks on the bells of its queues, one list each, and on a bell of its own; who enqueues rings
// only where somebody is parked. A ring takes one waiting off the list of the parked and adds one element to the bell, so for
// each that waits there is a name or an element; more of them, left by who woke otherwise, cost one look each.
const (
	bellLength  = 64               // of a bell, in elements
	bellTTL     = 10 * time.Second // of a bell that nobody hears
	parkedSlack = 2 * time.Second  // of a name among the parked beyond the wait, after which it is told again
)

//go:embed lua/ring.lua
var ringSrc string

//go:embed lua/park.lua
var parkSrc string

//go:embed lua/wake.lua
var wakeSrc string

var (
	ringScript = conn.NewForeignScript("carrier.ring", ringSrc)
	wakeScript = conn.NewForeignScript("carrier.wake", wakeSrc)
	parkScript = redis.NewScript(LookLua + parkSrc) // sent by the gate itself, in one pipeline with what blocks
)

// rings returns one call per queue, which rings for each delivery in it.
func (c *Carrier) rings(hs []record.HandOver) []*conn.Call {
	var order []string
	count := make(map[string]int, 1)
	for _, h := range hs {
		if count[h.Queue] == 0 {
			order = append(order, h.Queue)
		}
		count[h.Queue]++
	}
	calls := make([]*conn.Call, len(order))
	for i, q := range order {
		calls[i] = &conn.Call{
			Script: ringScript,
			Keys:   []string{c.keys.Parked(q), c.keys.Bell(q)},
			Args:   []any{min(count[q], bellLength), bellLength, bellTTL.Milliseconds()},
		}
	}
	return calls
}
