package group

import (
	"context"
	"fmt"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// Death is the end of a worker: somebody declared it, or it takes leave itself.
type Death struct {
	Worker  string
	Beat    int64 // its last one
	Charged bool  // what had started is charged with a crash
}

// Reaped is a part of what a worker held.
type Reaped struct {
	Revived    bool              // it has beaten again: nothing was taken from it
	Left       int               // how much more it holds in the shard
	Outbox     bool              // ends wait in the shard's outbox to be told
	Again      int               // tasks, members and tickets that will be delivered again
	CrashLoops int               // tasks that ended since they had killed their workers too often
	HandOvers  []record.HandOver // enqueue these
}

// Reap takes up to limit of what a worker holds in a shard, 200 at most, and makes it wait for another delivery: tasks and
// members that had started with one crash more, tickets as their next number. What was to be cancelled, is past its deadline or
// has crashed too often ends. Any number of callers may reap the same worker at once; nothing is taken twice. With items, as they
// stand in the worker's holdings, only these are taken.
func (s *Store) Reap(ctx context.Context, shard int, d Death, limit int, items ...string) (Reaped, error) {
	charged := 0
	if d.Charged {
		charged = 1
	}
	args := []any{d.Worker, d.Beat, charged, min(limit, reapMost)}
	for _, item := range items {
		args = append(args, item)
	}
	c := conn.NewCall(reapScript, s.keys.Prefix(shard), args...)
	if err := s.conn.Do(ctx, c); err != nil {
		return Reaped{}, err
	}
	r := record.NewReply(c.Reply, c.Err)
	switch word := r.Str(); {
	case r.Err != nil:
		return Reaped{}, r.Err
	case word == "revived":
		return Reaped{Revived: true}, nil
	case word != "ok":
		return Reaped{}, fmt.Errorf("reap answered %q", word)
	}
	out := Reaped{Left: int(r.Int()), Outbox: r.Int() == 1, Again: int(r.Int()), CrashLoops: int(r.Int())}
	for r.More() {
		h, err := record.ReadHandOver(r.List())
		if err != nil {
			return out, err
		}
		out.HandOvers = append(out.HandOvers, h)
	}
	return out, r.Err
}

// reapMost bounds the time that one script takes.
const reapMost = 200

// Revive says in all shards that a worker beats again which had been declared dead at that beat or before: what nobody has taken
// from it stays its own, whoever is about to take it, and the crashes that its deaths charged do not count.
func (s *Store) Revive(ctx context.Context, worker string, beat int64) error {
	calls := make([]*conn.Call, s.keys.Shards())
	for shard := range calls {
		calls[shard] = conn.NewCall(reviveScript, s.keys.Prefix(shard), worker, beat)
	}
	return s.conn.All(ctx, calls...)
}

// Holdings reads a page of what a worker holds in a shard, as the records say: tasks' IDs, "x|group|range", "t|group|ticket". It
// begins with the cursor "0" and goes on with the one that it answers, until that is "0" again.
func (s *Store) Holdings(ctx context.Context, shard int, worker, cursor string) (items []string, next string, err error) {
	reply, err := get(ctx, s.conn, "sscan", s.keys.Holdings(shard, worker), cursor, "count", holdingsPage)
	if err != nil {
		return nil, "", err
	}
	r := record.NewReply(reply, nil)
	next = r.Str()
	for list := r.List(); list.More(); {
		items = append(items, list.Str())
	}
	return items, next, r.Err
}

const holdingsPage = 500
