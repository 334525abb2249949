// Package keys builds every key, channel and queue name that gatherq uses in Redis, and nothing else does. The same rules for
// scripts stand in keys.lua beside it.
//
// All names begin with "gq:". What belongs to a task or a group carries its shard's tag, "gq:{<namespace>:<shard>}:", so that in a
// cluster one script may touch all of it. Namespaces and queues contain no colon and no brace, IDs no brace, so no two
// things share a name (fuzzed).
package keys

import (
	_ "embed"
	"hash/crc32"
	"strconv"
	"strings"
)

// Lua is the part of every script that builds keys from the shard's prefix, KEYS[1].
//
//go:embed keys.lua
var Lua string

// Space is the names of one namespace. The zero Space is not valid; use New.
type Space struct {
	ns     string
	shards int
}

// New returns the names of namespace ns, which the caller has validated, spread over shards shard tags.
func New(ns string, shards int) Space { return Space{ns: ns, shards: max(shards, 1)} }

// Namespace returns the namespace.
func (s Space) Namespace() string { return s.ns }

// Shards returns the number of shard tags.
func (s Space) Shards() int { return s.shards }

// Shard returns the shard of an ID: a member's is its group's, a child's is written in its ID.
func (s Space) Shard(id string) int {
	if s.shards == 1 {
		return 0
	}
	group, _, ok := SplitMember(id)
	if ok {
		id = group
	}
	return int(hash16(id)) % s.shards
}

// hash16 is what a shard is derived from: of a child ("c:hhhh…") the four hexadecimal digits that its creator took from the root.
func hash16(id string) uint16 {
	if strings.HasPrefix(id, "c:") && len(id) >= 6 {
		if n, err := strconv.ParseUint(id[2:6], 16, 16); err == nil {
			return uint16(n)
		}
	}
	return uint16(crc32.ChecksumIEEE([]byte(id)))
}

// Prefix returns what all keys of a shard begin with. Every script gets it as its only KEYS entry.
func (s Space) Prefix(shard int) string {
	return "gq:{" + s.ns + ":" + strconv.Itoa(shard) + "}:"
}

// PrefixOf returns the prefix of the shard of id.
func (s Space) PrefixOf(id string) string { return s.Prefix(s.Shard(id)) }

// Record returns the key of the record of a task or group.
func (s Space) Record(id string) string { return s.PrefixOf(id) + "r:" + id }

// Tombstone returns the key of what is left of an ID after its retention.
func (s Space) Tombstone(id string) string { return s.PrefixOf(id) + "z:" + id }

// Open returns the sorted set of all open work of a shard, scored by the time in milliseconds at which to look again.
func (s Space) Open(shard int) string { return s.Prefix(shard) + "open" }

// Outbox returns the hash of a shard's ends that other records must hear of.
func (s Space) Outbox(shard int) string { return s.Prefix(shard) + "outbox" }

// Holdings returns the set of what a worker holds in a shard.
func (s Space) Holdings(shard int, worker string) string { return s.Prefix(shard) + "h:" + worker }

// Revived returns the key of the beat at which a worker came back that had been declared dead.
func (s Space) Revived(shard int, worker string) string { return s.Prefix(shard) + "u:" + worker }

// Args returns the key of one bucket of a group's packed arguments; nonce is that of its staging.
func (s Space) Args(group, nonce string, bucket int) string {
	return s.PrefixOf(group) + "a:" + nonce + ":" + strconv.Itoa(bucket)
}

// Results returns the key of one bucket of a group's settled ranges.
func (s Space) Results(group string, bucket int) string {
	return s.PrefixOf(group) + "v:" + group + ":" + strconv.Itoa(bucket)
}

// Map returns the key of one chunk of a group's member map.
func (s Space) Map(group string, chunk int) string {
	return s.PrefixOf(group) + "i:" + group + ":" + strconv.Itoa(chunk)
}

// Line returns the list of members that travel alone and wait until fewer of their group run.
func (s Space) Line(group string) string { return s.PrefixOf(group) + "p:" + group }

// Ranges returns the key of the open ranges of a group, and of its members that travel alone or come from elsewhere.
func (s Space) Ranges(group string) string { return s.PrefixOf(group) + "x:" + group }

// Fleet returns what the names of the workers' own keys begin with. Scripts about beats get it as their only KEYS entry.
func (s Space) Fleet() string { return "gq:{" + s.ns + "}:" }

// Inbox returns the channel of one process' inbox.
func (s Space) Inbox(id string) string { return "gq:{" + s.ns + "}:i:" + id }

// Due returns the channel on which a new earliest look-again time is told, in milliseconds.
func (s Space) Due() string { return "gq:{" + s.ns + "}:due" }

// Meta returns the hash of what all processes of a namespace must agree on.
func (s Space) Meta() string { return "gq:{" + s.ns + "}:meta" }

// Workers returns the sorted set of workers that beat.
func (s Space) Workers() string { return "gq:{" + s.ns + "}:workers" }

// Worker returns the hash that a worker's beat writes.
func (s Space) Worker(id string) string { return "gq:{" + s.ns + "}:w:" + id }

// Lead returns the key that names the worker which does what has to be done once.
func (s Space) Lead() string { return "gq:{" + s.ns + "}:lead" }

// Bell returns the list on which idle workers wait for work in a queue.
func (s Space) Bell(queue string) string { return "gq:{" + s.ns + "}:bell:" + queue }

// Parked returns the sorted set of the workers that wait for a queue's bell.
func (s Space) Parked(queue string) string { return "gq:{" + s.ns + "}:parked:" + queue }

// AsynqQueue returns the name of asynq's queue for a queue of this namespace.
func (s Space) AsynqQueue(queue string) string { return s.ns + ":" + queue }

// AsynqPaused returns the key that exists while asynq's queue for a queue of this namespace is paused.
func (s Space) AsynqPaused(queue string) string { return "asynq:{" + s.AsynqQueue(queue) + "}:paused" }

// Member returns the ID of a group's member.
func Member(group string, index int) string { return group + ":" + strconv.Itoa(index) }

// SplitMember takes a member's ID apart. IDs of tasks and groups that are no members give ok false.
func SplitMember(id string) (group string, index int, ok bool) {
	i := strings.LastIndexByte(id, ':')
	if i < 1 || i == len(id)-1 || len(id)-i > 9 {
		return "", 0, false
	}
	if id[i+1] == '0' && i+2 < len(id) {
		return "", 0, false
	}
	for _, c := range []byte(id[i+1:]) {
		if c < '0' || c > '9' {
			return "", 0, false
		}
	}
	n, err := strconv.Atoi(id[i+1:])
	if err != nil {
		return "", 0, false
	}
	return id[:i], n, true
}
