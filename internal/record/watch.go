package record

import (
	"context"
	"fmt"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
)

// View is what of an ID somebody waits for.
type View byte

// The views.
const (
	Whole        View = 't' // the end of a task or member
	OutcomeView  View = 'o' // a group's outcome
	BarrierView  View = 'b' // a group's barrier
	ProgressView View = 'p' // more than After members of a group recorded
)

// Interest is one thing to wait for.
type Interest struct {
	ID    string
	View  View
	After int // of ProgressView
}

// WatchStatus is how an interest stands.
type WatchStatus byte

// The answers to an interest.
const (
	Waiting WatchStatus = iota
	HasEnded
	IsUnknown
	IsExpired
)

// Answer is how an interest stands.
type Answer struct {
	Status WatchStatus

	// Outcome is how it ended, or stands: of a task or member with its value; of a group State, Failure, and as Index the first
	// member that failed (-1: none).
	Outcome Outcome

	Done, Members int   // of a group
	Barrier       bool  // of a group: all members have ended
	GroupState    State // of a group: its outcome's state; "" before there is one
	Cancelled     bool  // of a group: its end was requested and accepted
	Overdue       bool  // of a group: past its deadline or longest wait; sweep it
	Linked        bool  // of a member that waits: it is a task or group from elsewhere
	Outbox        bool  // something ended by this look: deliver the shard's outbox
}

// watchBatch is how many interests go into one script: decision 9 bounds its time.
const watchBatch = 500

// Watch registers interests for an inbox and looks, in one step for each ID, so that nothing falls between the two. An interest is
// told once; ask again to renew it, which costs nothing while it is fresh. With inbox "" it only looks.
func (s *Store) Watch(ctx context.Context, inbox string, in []Interest) ([]Answer, error) {
	type slot struct {
		call *conn.Call
		at   []int // places in the caller's list
	}
	open := map[int]*slot{}
	var slots []*slot
	var calls []*conn.Call
	for i, it := range in {
		sh := s.keys.Shard(it.ID)
		sl := open[sh]
		if sl == nil || len(sl.at) == watchBatch {
			sl = &slot{call: conn.NewCall(watchScript, s.keys.Prefix(sh), inbox)}
			open[sh] = sl
			slots, calls = append(slots, sl), append(calls, sl.call)
		}
		id, view, after := it.ID, string(rune(it.View)), it.After
		if it.View == Whole {
			if group, index, ok := keys.SplitMember(it.ID); ok {
				id, view, after = group, "m", index
			}
		}
		sl.call.Args = append(sl.call.Args, id, view, after)
		sl.at = append(sl.at, i)
	}
	if err := s.conn.Do(ctx, calls...); err != nil {
		return nil, err
	}
	out := make([]Answer, len(in))
	for _, sl := range slots {
		r := NewReply(sl.call.Reply, sl.call.Err)
		outbox := r.Int() == 1
		for _, i := range sl.at {
			a, err := readAnswer(in[i], r.List())
			if err != nil {
				return nil, err
			}
			a.Outbox = outbox
			out[i] = a
		}
	}
	return out, nil
}

func readAnswer(in Interest, r *Reply) (Answer, error) {
	a := Answer{Outcome: Outcome{ID: in.ID, Index: -1}}
	group, index, member := keys.SplitMember(in.ID)
	if in.View != Whole {
		member = false
	}
	if member {
		a.Outcome.Group, a.Outcome.Index = group, index
	}
	o := &a.Outcome
	switch word := r.Str(); word {
	case "unknown":
		a.Status = IsUnknown
	case "expired":
		a.Status, o.State = IsExpired, Expired
	case "waiting":
		o.State, a.Done, a.Members, a.Overdue = State(r.Str()), int(r.Int()), int(r.Int()), r.Int() == 1
		if member {
			a.Linked = r.Str() == "linked"
		} else if in.View == Whole {
			o.Attempt, o.Delivery, o.Worker, o.Type = int(r.Int())+1, r.Int(), r.Str(), r.Str()
			o.QueuedAt, o.StartedAt = r.Time(), r.Time()
		}
	case "task":
		a.Status = HasEnded
		o.State, o.Value, o.Failure = State(r.Str()), r.Bytes(), DecodeFailure(r.Bytes())
		o.Attempt, o.Delivery, o.Worker, o.Type = int(r.Int()), r.Int(), r.Str(), r.Str()
		o.QueuedAt, o.StartedAt, o.FinishedAt = r.Time(), r.Time(), r.Time()
		o.Started = !o.StartedAt.IsZero()
	case "member":
		a.Status = HasEnded
		outs, err := DecodeRange(group, r.Bytes())
		if err != nil {
			return a, err
		}
		for i := range outs {
			if outs[i].Index == index {
				a.Outcome = outs[i]
				return a, r.Err
			}
		}
		return a, fmt.Errorf("member %s is not in the range that its group's map names", in.ID)
	case "group":
		a.Status = HasEnded
		o.State, o.Failure, o.Index = State(r.Str()), DecodeFailure(r.Bytes()), int(r.Int())
		a.Done, a.Members, a.Barrier, a.Cancelled = int(r.Int()), int(r.Int()), r.Int() == 1, r.Int() == 1
		a.GroupState = State(r.Str())
		reason := DecodeFailure(r.Bytes())
		if in.View == BarrierView && a.Cancelled {
			o.State, o.Failure = Cancelled, reason
		} else if in.View == BarrierView {
			o.State, o.Failure = Succeeded, nil
		}
	default:
		if r.Err == nil {
			r.Err = fmt.Errorf("watch answered %q", word)
		}
	}
	return a, r.Err
}
