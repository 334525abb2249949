package record

import (
	"cmp"
	"context"
	"fmt"
	"slices"

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
	Place  int // of the interest among those asked about
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

	later bool // there was no room for it
}

// watchBatch is how many interests go into one script: decision 9 bounds its time.
const watchBatch = 500

// Watch registers interests for an inbox and looks, in one step for each ID, so that nothing falls between the two. An interest is
// told once; ask again to renew it, which costs nothing while it is fresh. With inbox "" it only looks.
//
// The answers come in the order of the interests. Of one that is registered and has only to wait there is none, unless the group
// is overdue: whoever waits for many asks often, and mostly nothing has happened.
func (s *Store) Watch(ctx context.Context, inbox string, in []Interest) ([]Answer, error) {
	answers, _, err := s.watch(ctx, s.conn.Do, inbox, in)
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// WatchOnce is Watch for who asks again by itself: it does not wait for a Redis that does not answer. In a cluster some of its masters may:
// then there are both answers and an error, and missing are the places of the interests that the error is about. So it is with answers that do not
// parse, and records that the script fails on.
func (s *Store) WatchOnce(ctx context.Context, inbox string, in []Interest) (answers []Answer, missing []int, err error) {
	return s.watch(ctx, s.conn.Once, inbox, in)
}

func (s *Store) watch(ctx context.Context, do func(context.Context, ...*conn.Call) error, inbox string, in []Interest) (answers []Answer, missing []int, lost error) {
	var places []int // nil: all
	for most := watchBatch; ; {
		looks := s.looks(inbox, in, places, most)
		calls := make([]*conn.Call, len(looks))
		for i := range looks {
			calls[i] = looks[i].call
		}
		if err := do(ctx, calls...); err != nil {
			lost = err
		}
		var later []int
		for i := range looks {
			l := &looks[i]
			if l.call.Unanswered() {
				missing = append(missing, l.places...)
				continue
			}
			got, err := l.read(in)
			switch {
			case err == nil:
			case len(l.places) > 1: // each by itself: what is wrong with one is no other's
				later, most = append(later, l.places...), 1
				continue
			default:
				got.bad, got.err = l.places, err
			}
			answers, later, missing = append(answers, got.answers...), append(later, got.later...), append(missing, got.bad...)
			lost = cmp.Or(lost, got.err) // that Redis did not answer goes first: then they are asked about again
		}
		if len(looks) > 1 || len(places) > 0 {
			slices.SortFunc(answers, func(a, b Answer) int { return a.Place - b.Place })
		}
		if len(later) == 0 {
			slices.Sort(missing)
			return answers, missing, lost
		}
		places = later
	}
}

// look is one script's part of the interests.
type look struct {
	call   *conn.Call
	places []int
}

// looks shares interests out to scripts, at most so many to one.
func (s *Store) looks(inbox string, in []Interest, places []int, most int) (looks []look) {
	open := map[int]int{} // by shard
	n := len(in)
	if places != nil {
		n = len(places)
	}
	for i := range n {
		if places != nil {
			i = places[i]
		}
		sh := s.keys.Shard(in[i].ID)
		at, ok := open[sh]
		if !ok || len(looks[at].places) == most {
			at = len(looks)
			open[sh] = at
			call := conn.NewCall(watchScript, s.keys.Prefix(sh), inbox)
			looks = append(looks, look{call: call})
		}
		l := &looks[at]
		l.call.Args = append(l.call.Args, in[i].args()...)
		l.places = append(l.places, i)
	}
	return looks
}

// args returns the interest as the script takes it.
func (in Interest) args() []any {
	id, view, after := in.ID, string(rune(in.View)), in.After
	if in.View == Whole {
		if group, index, ok := keys.SplitMember(in.ID); ok {
			id, view, after = group, "m", index
		}
	}
	return []any{id, view, after}
}

// looked is what one script answered.
type looked struct {
	answers []Answer
	later   []int // places of interests that it had no room for
	bad     []int // of those whose answers do not parse
	err     error // of one of these
}

// read returns the answers of one script.
func (l *look) read(in []Interest) (out looked, err error) {
	r := NewReply(l.call.Reply, l.call.Err)
	outbox := r.Int() == 1
	for r.More() {
		at := int(r.Int())
		if at < 0 || at >= len(l.places) {
			return looked{}, fmt.Errorf("watch answered about %d of %d", at, len(l.places))
		}
		place := l.places[at]
		a, err := readAnswer(in[place], r.List())
		switch {
		case err != nil:
			out.bad, out.err = append(out.bad, place), err
		case a.later:
			out.later = append(out.later, place)
		default:
			a.Place, a.Outbox = place, outbox
			out.answers = append(out.answers, a)
		}
	}
	if r.Err != nil {
		return looked{}, r.Err
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
	case "later":
		a.later = true
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
