package fleet

import (
	_ "embed"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
)

//go:embed lua/beat.lua
var beatSrc string

//go:embed lua/declare.lua
var declareSrc string

//go:embed lua/bury.lua
var burySrc string

//go:embed lua/relist.lua
var relistSrc string

// These know no shard: beats belong to no task. The KEYS of declare and bury are what the fleet's keys begin with.
var (
	beatScript    = conn.NewForeignScript("fleet.beat", carrier.LookLua+errandsSrc+beatSrc)
	declareScript = conn.NewForeignScript("fleet.declare", declareSrc)
	buryScript    = conn.NewForeignScript("fleet.bury", burySrc)
	relistScript  = conn.NewForeignScript("fleet.relist", relistSrc)
)

// Scripts are all scripts of this package.
func Scripts() []*conn.Script {
	return []*conn.Script{beatScript, declareScript, buryScript, relistScript}
}

func fleetCall(s *conn.Script, k keys.Space, args ...any) *conn.Call {
	return &conn.Call{Script: s, Keys: []string{k.Fleet()}, Args: args}
}
