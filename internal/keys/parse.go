package keys

import (
	"slices"
	"strconv"
	"strings"
)

// What the names of keys say behind their prefix. A key that is of none of these belongs to nobody.
var (
	shardKinds = []string{"r", "z", "h", "u", "a", "v", "i", "x", "y", "p", "f", "m"} // each before ":" and a name
	shardNames = []string{"open", "outbox"}
	fleetKinds = []string{"w", "bell", "parked"}
	fleetNames = []string{"meta", "workers", "lead"}
)

// Name is a key taken apart.
type Name struct {
	Shard int    // -1 for the fleet's
	Kind  string // what stands before the first colon behind the prefix, or the whole of it: "r", "open", …
	Of    string // what stands behind that: an ID, a worker, "<nonce>:<bucket>", …
}

// Parse takes the name of a key apart. Ours says whether it begins as the names of this namespace do, known whether it is one
// that this version writes.
func (s Space) Parse(key string) (n Name, ours, known bool) {
	kinds, names := fleetKinds, fleetNames
	rest, fleet := strings.CutPrefix(key, s.Fleet())
	if fleet {
		n.Shard = -1
	} else {
		shard, behind, ok := strings.Cut(strings.TrimPrefix(key, "gq:{"+s.ns+":"), "}:")
		if !ok || len(behind)+len(shard)+len("gq:{"+s.ns+":}:") != len(key) {
			return n, false, false
		}
		number, err := strconv.Atoi(shard)
		if err != nil {
			return n, true, false
		}
		n.Shard, rest = number, behind
		kinds, names = shardKinds, shardNames
		if number < 0 || number >= s.shards {
			return n, true, false
		}
	}
	kind, of, more := strings.Cut(rest, ":")
	n.Kind, n.Of = kind, of
	if more {
		return n, true, of != "" && slices.Contains(kinds, kind)
	}
	return n, true, slices.Contains(names, kind)
}

// Pattern matches all keys of the namespace, for SCAN, and some of namespaces whose names begin alike.
func (s Space) Pattern() string { return "gq:{" + s.ns + "*" }

// AsynqPrefix returns what asynq's keys of a queue of this namespace begin with.
func (s Space) AsynqPrefix(queue string) string { return "asynq:{" + s.AsynqQueue(queue) + "}:" }
