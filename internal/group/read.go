package group

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// pageRanges bounds what one read of settled ranges asks for.
const pageRanges = 64

// Ranges reads what was recorded after the settled range number after (0: from the beginning), in recording order: at most limit
// ranges, 0 for the default, each as record.ReadRange takes it. More is false where these are the last that are recorded so far.
func (s *Store) Ranges(ctx context.Context, gid string, after, limit int) (blobs [][]byte, more bool, err error) {
	if limit <= 0 {
		limit = pageRanges
	}
	bucket := after / bucketSize
	limit = min(limit, (bucket+1)*bucketSize-after) // one hash at a time
	args := make([]any, 0, 2+limit)
	args = append(args, "hmget", s.keys.Results(gid, bucket))
	for i := range limit {
		args = append(args, after+i+1)
	}
	reply, err := get(ctx, s.conn, args...)
	if err != nil {
		return nil, false, err
	}
	list, _ := reply.([]any)
	blobs = make([][]byte, 0, len(list))
	for _, v := range list {
		blob, ok := v.(string)
		if !ok {
			return blobs, false, nil
		}
		blobs = append(blobs, []byte(blob))
	}
	return blobs, true, nil
}

// Page is Ranges, unpacked. last goes into the next call; nothing new leaves it as it was.
func (s *Store) Page(ctx context.Context, gid string, after, limit int) (outs []record.Outcome, last int, err error) {
	blobs, _, err := s.Ranges(ctx, gid, after, limit)
	if err != nil {
		return nil, after, err
	}
	for _, blob := range blobs {
		part, err := record.DecodeRange(gid, blob)
		if err != nil {
			return nil, after, err
		}
		outs = append(outs, part...)
	}
	return outs, after + len(blobs), nil
}

// ByIndex reads members from, from+1, … in the order of the calls; State is "" where one has not ended, Expired where its outcome is
// gone. Fewer than count come back at the end of the group, none where there is no such group.
func (s *Store) ByIndex(ctx context.Context, gid string, from, count int) ([]record.Outcome, error) {
	r := s.run(ctx, whereScript, gid, gid, from, count)
	if !r.More() {
		return nil, r.Err
	}
	r.Int()
	r.Int()
	bits := r.Bytes()
	if r.Err != nil {
		return nil, r.Err
	}
	outs := make([]record.Outcome, len(bits)/4)
	want := map[int][]any{} // bucket → range numbers
	asked := map[uint32]bool{}
	for i := range outs {
		outs[i] = record.Outcome{ID: fmt.Sprintf("%s:%d", gid, from+i), Group: gid, Index: from + i}
		seq := binary.BigEndian.Uint32(bits[4*i:])
		if seq == 0 || seq >= linkedMark {
			continue
		}
		outs[i].State, outs[i].Failure = record.Expired, &record.Failure{Kind: string(record.Expired)} // unless it is found
		if asked[seq] {
			continue
		}
		asked[seq] = true
		b := int(seq-1) / bucketSize
		want[b] = append(want[b], int(seq))
	}
	var calls []*conn.Call
	for b, seqs := range want {
		calls = append(calls, conn.NewCommand(append([]any{"hmget", s.keys.Results(gid, b)}, seqs...)...))
	}
	if err := s.conn.All(ctx, calls...); err != nil {
		return nil, err
	}
	for _, c := range calls {
		list, _ := c.Reply.([]any)
		for _, v := range list {
			blob, ok := v.(string)
			if !ok {
				continue
			}
			part, err := record.DecodeRange(gid, []byte(blob))
			if err != nil {
				return nil, err
			}
			for _, o := range part {
				if i := o.Index - from; i >= 0 && i < len(outs) {
					outs[i] = o
				}
			}
		}
	}
	return outs, nil
}

// linkedMark is the smallest of the map's marks that are no range numbers: from elsewhere, and alone.
const linkedMark = 0xFFFFFFFE

// Head is how a group stands.
type Head struct {
	State         record.State // "" unknown, Expired, else its outcome's or how it stands
	Failure       *record.Failure
	FirstIndex    int // of the failure; -1 none
	Members, Done int
	Outcome       bool // there is one
	Barrier       bool
	Cancelled     bool
	Overdue       bool
}

// Head reads how a group stands.
func (s *Store) Head(ctx context.Context, gid string) (Head, error) {
	as, err := s.records.Watch(ctx, "", []record.Interest{{ID: gid, View: record.OutcomeView}})
	if err != nil {
		return Head{}, err
	}
	a := as[0]
	h := Head{State: a.Outcome.State, Failure: a.Outcome.Failure, FirstIndex: a.Outcome.Index, Members: a.Members, Done: a.Done, Barrier: a.Barrier,
		Cancelled: a.Cancelled, Overdue: a.Overdue}
	switch a.Status {
	case record.IsUnknown:
		h.State = ""
	case record.HasEnded:
		h.Outcome = true
	case record.Waiting, record.IsExpired:
	}
	return h, nil
}
