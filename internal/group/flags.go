package group

import (
	"context"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// RangeFlag is a word to the holder of a range.
type RangeFlag struct {
	Fenced  bool                    // the range is not this worker's any more
	Reason  *record.Failure         // the end of the whole group was requested
	Members map[int]*record.Failure // the end of these was
}

// Flags asks about the ranges that a worker runs: one answer for each, in their order.
func (s *Store) Flags(ctx context.Context, worker string, ranges ...*Range) ([]RangeFlag, error) {
	calls, at := map[int]*conn.Call{}, map[int][]int{}
	for i, r := range ranges {
		shard := s.keys.Shard(r.Group)
		if calls[shard] == nil {
			calls[shard] = conn.NewCall(flagsScript, s.keys.Prefix(shard), worker)
		}
		calls[shard].Args = append(calls[shard].Args, r.Group, r.ID, r.Number)
		at[shard] = append(at[shard], i)
	}
	var all []*conn.Call
	for _, c := range calls {
		all = append(all, c)
	}
	if err := s.conn.Do(ctx, all...); err != nil {
		return nil, err
	}
	out := make([]RangeFlag, len(ranges))
	for shard, c := range calls {
		reply := record.NewReply(c.Reply, c.Err)
		for _, i := range at[shard] {
			r := reply.List()
			f := RangeFlag{Fenced: r.Int() == 1, Reason: record.DecodeFailure(r.Bytes())}
			for r.More() {
				if f.Members == nil {
					f.Members = map[int]*record.Failure{}
				}
				index := int(r.Int())
				f.Members[index] = record.DecodeFailure(r.Bytes())
			}
			if r.Err != nil {
				return nil, r.Err
			}
			out[i] = f
		}
		if reply.Err != nil {
			return nil, reply.Err
		}
	}
	return out, nil
}
