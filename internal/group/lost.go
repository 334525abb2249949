package group

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// Tickets gives groups of a shard a ticket that have unclaimed members and none that lives; it returns those: enqueue them.
func (s *Store) Tickets(ctx context.Context, gids []string) (out []record.HandOver, err error) {
	calls := make([]*conn.Call, len(gids))
	for i, gid := range gids {
		calls[i] = conn.NewCall(ticketScript, s.keys.PrefixOf(gid), gid)
	}
	if err := s.conn.Do(ctx, calls...); err != nil {
		return nil, err
	}
	for _, call := range calls {
		r := record.NewReply(call.Reply, call.Err)
		if r.Err != nil {
			return out, r.Err
		}
		if !r.More() {
			continue
		}
		h := record.ReadTicket(r)
		if r.Err != nil {
			return out, r.Err
		}
		out = append(out, h)
	}
	return out, nil
}

// Relinked is a page of what a group has open.
type Relinked struct {
	Holders []string // of ranges
	Linked  []int    // members from elsewhere that nothing had tied to what they stand for
	Ended   []int    // those whose end nobody had told
	Outbox  bool     // that ended the group, and others wait for it
}

const (
	relinkPage = 200
	// untold is when an end that the group has not heard of is taken for lost: until then it waits in an outbox, or is on its way.
	untold = 5 * time.Second
)

// Relink ties members from elsewhere again to what they stand for and records the ends that nobody told, a page of the group's open members
// at a time. It begins with the cursor "0" and goes on with the one that it answers, until that is "0" again. Doing it twice does no harm.
func (s *Store) Relink(ctx context.Context, gid, cursor string) (out Relinked, next string, err error) {
	reply, err := get(ctx, s.conn, "hscan", s.keys.Ranges(gid), cursor, "count", relinkPage)
	if err != nil {
		return out, "", err
	}
	r := record.NewReply(reply, nil)
	next = r.Str()
	var places []place
	for list := r.List(); list.More(); {
		field, value := list.Str(), list.Str()
		switch {
		case list.Err != nil:
			return out, next, list.Err
		case strings.HasPrefix(field, "l"):
			view, id, _ := strings.Cut(value, ";")
			index, err := strconv.Atoi(field[1:])
			if err != nil {
				return out, next, err
			}
			places = append(places, place{index: index, id: id, settled: view == "b"})
		case !strings.HasPrefix(field, "a"):
			if p := strings.SplitN(value, ";", 6); len(p) == 6 {
				out.Holders = append(out.Holders, p[4])
			}
		}
	}
	if r.Err != nil {
		return out, next, r.Err
	}
	return out, next, s.relink(ctx, gid, places, &out)
}

func (s *Store) relink(ctx context.Context, gid string, places []place, out *Relinked) error {
	links := make([]*conn.Call, len(places))
	for i, p := range places {
		links[i] = s.records.LinkCall(p.id, p.settled, record.Link{Group: gid, Index: p.index})
	}
	if err := s.conn.Do(ctx, links...); err != nil {
		return err
	}
	var ends []*conn.Call
	var of []int
	for i, call := range links {
		l, err := record.ReadLinked(call)
		if err != nil {
			return err
		}
		switch {
		case l.New:
			out.Linked = append(out.Linked, places[i].index)
		case l.Unknown:
			l.Outcome = &record.Outcome{State: record.Lost, Failure: &record.Failure{Kind: string(record.Lost), Message: "its record is gone"}}
		case l.Member:
			if l.Outcome, err = s.memberOutcome(ctx, places[i].id); err != nil {
				return err
			}
		case l.Outcome != nil && l.Since < untold:
			continue
		}
		if l.Outcome != nil {
			ends, of = append(ends, s.linkedCall(record.Link{Group: gid, Index: places[i].index}, l.Outcome, false)), append(of, places[i].index)
		}
	}
	if err := s.conn.Do(ctx, ends...); err != nil {
		return err
	}
	for i, call := range ends {
		r := record.NewReply(call.Reply, call.Err)
		if r.Str() == "ok" {
			out.Ended = append(out.Ended, of[i])
			out.Outbox = r.Int() == 1 || out.Outbox
		}
		if r.Err != nil {
			return r.Err
		}
	}
	return nil
}
