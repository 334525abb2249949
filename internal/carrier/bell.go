package carrier

import (
	_ "embed"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
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

//go:embed lua/free.lua
var freeSrc string

//go:embed lua/rename.lua
var renameSrc string

//go:embed lua/head.lua
var headSrc string

//go:embed lua/zadd.lua
var zaddSrc string

var (
	ringScript   = conn.NewForeignScript("carrier.ring", ringSrc)
	freeScript   = conn.NewForeignScript("carrier.free", freeSrc)
	renameScript = conn.NewForeignScript("carrier.rename", renameSrc)
	headScript   = conn.NewForeignScript("carrier.head", headSrc)
	wakeScript   = conn.NewForeignScript("carrier.wake", wakeSrc)
	zaddScript   = conn.NewForeignScript("carrier.zadd", zaddSrc)
	parkScript   = conn.NewForeignScript("carrier.park", LookLua+parkSrc) // sent by the gate itself, in one pipeline with what blocks
)
