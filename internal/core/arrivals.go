package core

import (
	"context"

	"github.com/gatherq/gatherq/internal/inbox"
	"github.com/gatherq/gatherq/internal/record"
)

// Arrivals tells of the ends of several handles as they come: those that have ended already first, in the order of the handles.
// It is for one goroutine.
type Arrivals struct {
	refs []*Ref
	told chan inbox.Told // as long as there are handles, so that no inbox ever waits
	open []bool          // not returned yet
	left int
	stop []func()
	bare bool // groups without their values
}

// Arrive begins to wait for handles of any clients. A handle that is refused is the error, and nothing has begun. Close it.
func Arrive(handles []Handle) (*Arrivals, error) {
	refs := make([]*Ref, len(handles))
	for i, h := range handles {
		r, err := RefOf(h)
		if err != nil {
			return nil, err
		}
		refs[i] = r
	}
	a := &Arrivals{refs: refs}
	a.begin()
	return a, nil
}

// ArriveGroup begins to wait for the group behind h alone, or for its Settled view; its value is not read. Close it.
func ArriveGroup(h Handle, settled bool) (*Arrivals, error) {
	r, err := RefOf(h)
	if err != nil {
		return nil, err
	}
	view := *r
	if settled {
		view.kind = Settled
	}
	a := &Arrivals{refs: []*Ref{&view}, bare: true}
	a.begin()
	return a, nil
}

func (a *Arrivals) begin() {
	a.told, a.open, a.left = make(chan inbox.Told, len(a.refs)), make([]bool, len(a.refs)), len(a.refs)
	type batch struct {
		interests []record.Interest
		places    []int
	}
	batches := map[*Engine]*batch{}
	var engines []*Engine
	for i, r := range a.refs {
		b := batches[r.engine]
		if b == nil {
			b = &batch{}
			batches[r.engine], engines = b, append(engines, r.engine)
		}
		b.interests, b.places = append(b.interests, r.interest()), append(b.places, i)
		a.open[i] = true
	}
	for _, e := range engines {
		b := batches[e]
		a.stop = append(a.stop, e.inbox.Watch(b.interests, b.places, a.told))
	}
}

// Close stops waiting.
func (a *Arrivals) Close() {
	for _, stop := range a.stop {
		stop()
	}
}

// Len returns how many have not been returned.
func (a *Arrivals) Len() int { return a.left }

// Next blocks for the next end and returns its place among the handles; -1 when all have been returned, or together with an
// error that is not about one handle: the end of ctx, after which it may be called again. With a place the error is about
// waiting for that one.
func (a *Arrivals) Next(ctx context.Context) (place int, f *Fate, err error) {
	if a.left == 0 {
		return -1, nil, nil
	}
	var got inbox.Told
	select {
	case got = <-a.told: // what is there counts, also when ctx has ended
	default:
		select {
		case got = <-a.told:
		case <-ctx.Done():
			return -1, nil, &EndedError{context.Cause(ctx)}
		}
	}
	return a.take(ctx, got)
}

func (a *Arrivals) take(ctx context.Context, got inbox.Told) (place int, f *Fate, err error) {
	r := a.refs[got.Place]
	if got.Err == nil {
		f, err = r.engine.fate(ctx, r, got.Answer)
	} else {
		err = r.engine.trouble(ctx, r.id, got.Err)
	}
	if err == nil && r.kind != Task && f.State == record.Succeeded && !a.bare {
		var loaded *Fate
		if loaded, err = r.engine.list(ctx, memo{}, r.id, r.kind == Settled); err == nil {
			f.Raw = loaded.Raw
			if loaded.State != record.Succeeded {
				f.State, f.Failure = loaded.State, loaded.Failure
			}
		}
	}
	if Ended(err) {
		return -1, nil, err
	}
	a.open[got.Place] = false
	a.left--
	return got.Place, f, err
}

// Rest looks once at those that have not been returned, and calls each with those that have ended.
func (a *Arrivals) Rest(ctx context.Context, each func(place int, f *Fate)) {
	interests, places := map[*Engine][]record.Interest{}, map[*Engine][]int{}
	for place, r := range a.refs {
		if a.open[place] {
			interests[r.engine] = append(interests[r.engine], r.interest())
			places[r.engine] = append(places[r.engine], place)
		}
	}
	for e, in := range interests {
		answers, err := e.records.Watch(ctx, "", in)
		if err != nil {
			return
		}
		for i := range answers {
			if answers[i].Status != record.HasEnded {
				continue
			}
			if place, f, err := a.take(ctx, inbox.Told{Place: places[e][i], Answer: &answers[i]}); err == nil {
				each(place, f)
			}
		}
	}
}
