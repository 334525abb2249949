package record

import (
	"context"
	"fmt"
	"time"
)

// GroupAct is what a group needs of somebody.
type GroupAct byte

// The acts.
const (
	Bind  GroupAct = iota // its producer died while it linked members from elsewhere
	Sweep                 // it was cancelled or is overdue: what nobody has claimed must end
)

// GroupDue is a group that needs somebody.
type GroupDue struct {
	ID  string
	Act GroupAct
}

// Due is the work of a shard whose time has come.
type Due struct {
	HandOvers []HandOver
	Groups    []GroupDue
	Broken    []string // entries that cannot be read: somebody has written to their records by hand; they come again after a minute
	Outbox    bool
	Late      int           // of the hand-overs: those done before, that nobody marked within 2 s
	Next      time.Duration // until the earliest that is left; negative: none
}

// Due takes up to limit pieces of open work whose time has come, and ends what is overdue. Two callers never get the same.
func (s *Store) Due(ctx context.Context, shard, limit int) (Due, error) {
	r := s.run(ctx, dueScript, s.keys.Prefix(shard), limit)
	next, outbox := r.Int(), r.Int()
	d := Due{Next: time.Duration(next) * time.Millisecond, Outbox: outbox == 1, Late: int(r.Int())}
	if next < 0 {
		d.Next = -1
	}
	for r.More() {
		a := r.List()
		switch word := a.Str(); word {
		case "task":
			d.HandOvers = append(d.HandOvers, readTask(a))
		case "ticket":
			d.HandOvers = append(d.HandOvers, ReadTicket(a))
		case "bind":
			d.Groups = append(d.Groups, GroupDue{ID: a.Str(), Act: Bind})
		case "sweep":
			d.Groups = append(d.Groups, GroupDue{ID: a.Str(), Act: Sweep})
		case "broken":
			d.Broken = append(d.Broken, a.Str())
		default:
			if a.Err == nil {
				a.Err = fmt.Errorf("due answered %q", word)
			}
		}
		if a.Err != nil {
			return d, a.Err
		}
	}
	return d, r.Err
}

// ReadHandOver reads one as scripts list it: "task" or "ticket", then what readTask or ReadTicket reads.
func ReadHandOver(r *Reply) (HandOver, error) {
	var h HandOver
	switch word := r.Str(); word {
	case "task":
		h = readTask(r)
	case "ticket":
		h = ReadTicket(r)
	default:
		if r.Err == nil {
			r.Err = fmt.Errorf("a hand-over of %q", word)
		}
	}
	return h, r.Err
}

// ReadHandOvers reads the lists that are left of an answer, each as ReadHandOver does.
func ReadHandOvers(r *Reply) (hs []HandOver) {
	for r.More() {
		l := r.List()
		h, err := ReadHandOver(l)
		if err != nil {
			r.Err = err
			return nil
		}
		hs = append(hs, h)
	}
	return hs
}

// readTask reads a task's hand-over as scripts answer it: ID, number, queue, how (task.lua).
func readTask(r *Reply) HandOver {
	ref := Ref{ID: r.Str(), Number: r.Int()}
	h := HandOver{Queue: r.Str(), Delivery: Delivery{Refs: []Ref{ref}}}
	how := r.Int()
	h.Alone, h.First = how&1 != 0, how&2 != 0
	return h
}

// ReadTicket reads a ticket's hand-over as scripts answer it: group, nonce, place, number, queue.
func ReadTicket(r *Reply) HandOver {
	t := &Ticket{Group: r.Str(), Nonce: r.Str(), Place: int(r.Int()), Number: r.Int()}
	return HandOver{Queue: r.Str(), Delivery: Delivery{Ticket: t}}
}
