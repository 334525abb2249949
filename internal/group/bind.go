package group

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// ErrStagingGone is a commit whose staging has expired: the producer was away for longer than StagingTTL. Nothing is stored.
var ErrStagingGone = errors.New("the staged members have expired")

// Bind gives the members that no range carries what they need: a link to where they come from, or a record of their own. It
// goes in call order, so that members that had ended before the gather count so, and no range starts before it is done. The
// producer does it after its commit; should it die, whoever looks at the open work. Doing it twice does no harm.
func (s *Store) Bind(ctx context.Context, gid string, c *carrier.Carrier) error {
	f := conn.NewCommand("hmget", s.keys.Record(gid), "no", "sn", "bd", "du", "dl")
	if err := s.conn.All(ctx, f); err != nil {
		return err
	}
	r := record.NewReply(f.Reply, f.Err)
	nonce, segs, open, due, deadline := r.Str(), int(r.Int()), r.Str(), r.Time(), r.Time()
	if r.Err != nil || open == "" {
		return r.Err
	}
	gone := 0
	for n := range segs {
		get := conn.NewCommand("hget", s.keys.Args(gid, nonce, n/bucketSize), n)
		if err := s.conn.All(ctx, get); err != nil {
			return err
		}
		blob, there := get.Reply.(string)
		if !there {
			gone = 1
			continue
		}
		seg, err := unpackSegment([]byte(blob))
		if err != nil {
			return err
		}
		if err := s.bindSegment(ctx, gid, seg, bounds{nonce, due, deadline}, c); err != nil {
			return err
		}
	}
	r = s.run(ctx, boundScript, gid, gid, gone)
	var hs []record.HandOver
	for r.More() {
		t := r.List()
		hs = append(hs, record.ReadTicket(t))
		if t.Err != nil {
			return t.Err
		}
	}
	if r.Err != nil {
		return r.Err
	}
	if len(hs) > 0 {
		if err := c.HandOver(ctx, s.records, hs); err != nil {
			return err
		}
	}
	// What ended while the group was being bound waits in outboxes.
	for shard := range s.keys.Shards() {
		if err := s.DeliverOutbox(ctx, shard); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) bindSegment(ctx context.Context, gid string, seg *segment, within bounds, c *carrier.Carrier) error {
	var links []place
	var hs []record.HandOver
	for i := range seg.members {
		m, index := &seg.members[i], seg.start+i
		var h []record.HandOver
		var err error
		switch {
		case m.inRange():
			continue
		case m.Link != "":
			links = append(links, place{index: index, id: m.Link, settled: m.LinkSettled})
		case m.ID != "":
			var refused *record.Failure
			h, refused, err = s.createMember(ctx, m, within)
			links = append(links, place{index: index, id: m.ID, refused: refused})
		default:
			h, err = s.alone(ctx, gid, index, m, within)
		}
		if err != nil {
			return err
		}
		hs = append(hs, h...)
	}
	if err := s.link(ctx, gid, links); err != nil || len(hs) == 0 {
		return err
	}
	return c.HandOver(ctx, s.records, hs)
}

// place is a member from elsewhere.
type place struct {
	index   int
	id      string
	settled bool
	refused *record.Failure // it stands for nothing: somebody else has created that ID since the gather asked
}

// link ties places to what they stand for, and records the ends of those that have ended, in call order.
func (s *Store) link(ctx context.Context, gid string, places []place) error {
	if len(places) == 0 {
		return nil
	}
	binds := []any{gid}
	links := make([]*conn.Call, len(places)) // nil: refused
	for i, p := range places {
		view := "t"
		if p.settled {
			view = "b"
		}
		binds = append(binds, p.index, view+";"+p.id)
		if p.refused != nil {
			continue
		}
		links[i] = s.records.LinkCall(p.id, p.settled, record.Link{Group: gid, Index: p.index})
	}
	// the place first, then the question: an end in between finds the place
	if err := s.conn.All(ctx, conn.NewCall(bindScript, s.keys.PrefixOf(gid), binds...)); err != nil {
		return err
	}
	if err := s.conn.Do(ctx, slices.DeleteFunc(slices.Clone(links), func(c *conn.Call) bool { return c == nil })...); err != nil {
		return err
	}
	var ended []*conn.Call
	for i, call := range links {
		if call == nil {
			o := &record.Outcome{State: record.Failed, Failure: places[i].refused}
			ended = append(ended, s.linkedCall(record.Link{Group: gid, Index: places[i].index}, o, true))
			continue
		}
		l, err := record.ReadLinked(call)
		if err != nil {
			return err
		}
		if l.Unknown {
			l.Outcome = &record.Outcome{State: record.Failed, Failure: &record.Failure{Kind: "unknown", Message: "no such task or group"}}
		}
		if l.Member {
			if l.Outcome, err = s.memberOutcome(ctx, places[i].id); err != nil {
				return err
			}
		}
		if l.Outcome != nil {
			ended = append(ended, s.linkedCall(record.Link{Group: gid, Index: places[i].index}, l.Outcome, true))
		}
	}
	return s.conn.All(ctx, ended...)
}

// memberOutcome reads how a member of another group ended.
func (s *Store) memberOutcome(ctx context.Context, id string) (*record.Outcome, error) {
	gid, index, _ := keys.SplitMember(id)
	outs, err := s.ByIndex(ctx, gid, index, 1)
	if err != nil {
		return nil, err
	}
	if len(outs) == 0 || outs[0].State == "" { // its group has expired since
		return &record.Outcome{State: record.Expired, Failure: &record.Failure{Kind: "expired"}}, nil
	}
	return &outs[0], nil
}

// bounds are what a group sets to the members that travel by themselves: not before its time, not beyond its deadline.
type bounds struct {
	nonce         string // of the group's staging
	due, deadline time.Time
}

func (b bounds) of(p *Profile) (at, deadline time.Time) {
	at, deadline = p.At, p.Deadline
	if b.due.After(at) {
		at = b.due
	}
	if !b.deadline.IsZero() && (deadline.IsZero() || b.deadline.Before(deadline)) {
		deadline = b.deadline
	}
	return at, deadline
}

// createMember creates the task of a call with an ID of its own, or finds it. Refused says that another one has that ID.
func (s *Store) createMember(ctx context.Context, m *Member, within bounds) (hs []record.HandOver, refused *record.Failure, err error) {
	at, deadline := within.of(m.Profile)
	out, err := s.records.Create(ctx, record.NewTask{ID: m.ID, Type: m.Type, Queue: m.Queue, Args: m.Args, Digest: m.Digest,
		Options: m.Options, Retention: m.Retention, MaxPending: m.MaxPending, Delay: m.Delay, At: at, Deadline: deadline, OnConflict: m.OnConflict,
		Nonce: within.nonce})
	if err != nil {
		return nil, nil, err
	}
	switch out[0].Status {
	case record.ConflictID:
		return nil, &record.Failure{Kind: "conflict", Message: m.ID + " exists"}, nil
	case record.ConflictArgs:
		return nil, &record.Failure{Kind: "conflict", Message: m.ID + " exists with another type or other arguments"}, nil
	case record.Existing:
		return nil, nil, nil
	case record.New:
	}
	if out[0].Waits {
		return nil, nil, nil
	}
	ref := record.Ref{ID: m.ID, Number: out[0].Number}
	return []record.HandOver{{Queue: m.Queue, Delivery: record.Delivery{Refs: []record.Ref{ref}}}}, nil, nil
}

func (s *Store) alone(ctx context.Context, gid string, index int, m *Member, within bounds) ([]record.HandOver, error) {
	at, deadline := within.of(m.Profile)
	r := s.run(ctx, aloneScript, gid, gid, index, m.Type, m.Queue, m.Args, m.Options, record.Millis(m.Retention), record.DelayMillis(m.Delay),
		record.TimeMillis(at), record.TimeMillis(deadline), record.Millis(m.MaxPending))
	if word := r.Str(); word != "ok" || !r.More() {
		return nil, r.Err
	}
	ref := record.Ref{ID: r.Str(), Number: r.Int()} // nobody has crashed over it
	return []record.HandOver{{Queue: r.Str(), Delivery: record.Delivery{Refs: []record.Ref{ref}}}}, r.Err
}

// linkedCall records the end of a member from elsewhere.
func (s *Store) linkedCall(to record.Link, o *record.Outcome, binder bool) *conn.Call {
	out := *o
	out.Index, out.Attempt, out.FinishedAt = to.Index, max(out.Attempt, 1), time.Now()
	by := 0
	if binder {
		by = 1
	}
	return conn.NewCall(linkedScript, s.keys.PrefixOf(to.Group), to.Group, to.Index, string(out.State),
		record.EncodeRange("", []record.Outcome{out}), out.Failure.Encode(), by)
}
