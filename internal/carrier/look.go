package carrier

import (
	_ "embed"
	"strconv"
	"time"
)

// LookLua is the Lua function look, for a script that does something else for a worker each second: then a waiting server needs no
// commands of its own for it. See Server.Look.
//
//go:embed lua/look.lua
var LookLua string

// Look is what a script with LookLua needs for one server: look(at, queues, step, …) with KEYS from at on, and Args after those
// three.
type Look struct {
	Keys   []string // the server's own bell; then of each queue: the parked, and unless in a cluster asynq's pending list, pause mark and leases
	Queues []string // in their places
	Step   int      // keys of each queue: 4, in a cluster 1
	Parked bool     // else there is nothing to look for
	Args   []any    // name of the waiting, how long it counts and how long a bell rings, in ms
}

// StrayBefore is the score below which an entry of asynq's leases is that of a message handed out longer than age ago; compare
// Strays. Its clock is this process' own, like asynq's.
func StrayBefore(age time.Duration) int64 { return time.Now().Add(Lease - age).Unix() }

// Look returns what to look for now. Who set ServeConfig.Tended looks once a second.
func (s *Server) Look() Look {
	g := s.gate
	l := Look{Queues: g.queues, Step: 4, Parked: g.parked.Load()}
	if g.cluster {
		l.Step = 1
	}
	l.Keys = append(l.Keys, g.own)
	for _, q := range g.queues {
		l.Keys = append(l.Keys, g.keys.Parked(q))
		if l.Step > 1 {
			prefix := asynqPrefix(g.keys.AsynqQueue(q))
			l.Keys = append(l.Keys, prefix+"pending", prefix+"paused", prefix+"lease")
		}
	}
	l.Args = []any{g.waiting(), g.counts().Milliseconds(), bellTTL.Milliseconds()}
	return l
}

// counts is how long a name among the parked counts once it is told.
func (g *gate) counts() time.Duration { return g.wait + parkedSlack }

// NoLook is what to look for where there is no server yet: nothing.
func (c *Carrier) NoLook() Look {
	return Look{Keys: []string{c.keys.Bell("~")}, Step: 1, Args: []any{"", 1, 1}}
}

func asynqPrefix(name string) string { return "asynq:{" + name + "}:" }

// onLoan ends the name of a waiting whose slot somebody else uses: a ring wakes it, but it has no room for the work of others.
const onLoan = ":full"

// waiting is the name of the gate's present waiting among the parked.
func (g *gate) waiting() string {
	name := g.own + ":" + strconv.FormatInt(g.waitings.Load(), 10)
	if g.full.Load() {
		name += onLoan
	}
	return name
}
