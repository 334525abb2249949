package await

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// Of makes a set of handles that no group binds: Of(a, b), Of(tasks...). Nothing is stored.
func Of[R any, T jobs.Awaitable[R]](members ...T) jobs.Set[R] {
	set := &core.Loose[R]{}
	for _, m := range members {
		set.Members = append(set.Members, m)
	}
	return set
}

// Mixed is Of for handles of different result types.
func Mixed(members ...jobs.Ref) jobs.Set[jobs.Value] {
	set := &core.Loose[jobs.Value]{}
	for _, m := range members {
		set.Members = append(set.Members, m)
	}
	return set
}

// All blocks until all members have ended and returns every value in call order, or the first error in the order in which Redis
// recorded them, at once; the others run on. (Loose handles have no common record: there it is the first that was heard of,
// of those that had ended before in call order.) When ctx ends first, it returns the values that are there, zero elsewhere,
// with ErrGaveUp.
func All[R any](ctx context.Context, s jobs.Set[R]) ([]R, error) {
	var values []R
	err := collect(ctx, s, func(total int) {
		values = make([]R, total)
	}, func(place int, f *core.Fate) error {
		return core.Each(s, f, &values[place])
	})
	if err != nil && !errors.Is(err, ErrGaveUp) {
		return nil, err
	}
	return values, err
}

// Into is All for members of different types: it decodes each value to the pointer at its place. A nil skips one; another
// number of pointers than members, or a value that does not fit, is an error and leaves all targets alone.
func Into(ctx context.Context, s jobs.Set[jobs.Value], targets ...any) error {
	fresh := make([]reflect.Value, len(targets))
	for i, t := range targets {
		p := reflect.ValueOf(t)
		switch {
		case t == nil:
		case p.Kind() != reflect.Pointer || p.IsNil():
			return core.Refusal("target", fmt.Sprintf("%d is a %T, not a pointer to decode into", i, t))
		default:
			fresh[i] = reflect.New(p.Type().Elem())
		}
	}
	if members, ok := core.MembersOf(s); ok && len(members) != len(targets) {
		return miscounted(len(targets), len(members))
	}
	var fates []*core.Fate
	err := collect(ctx, s, func(total int) {
		fates = make([]*core.Fate, total)
	}, func(place int, f *core.Fate) error {
		kept := *f
		fates[place] = &kept
		return nil
	})
	if err != nil {
		return err
	}
	if len(fates) != len(targets) {
		return miscounted(len(targets), len(fates))
	}
	for i, f := range fates {
		if fresh[i].IsValid() {
			if err := core.DecodeInto(f, fresh[i].Interface()); err != nil {
				return err
			}
		}
	}
	for i, t := range targets {
		if t != nil {
			reflect.ValueOf(t).Elem().Set(fresh[i].Elem())
		}
	}
	return nil
}

func miscounted(targets, members int) error {
	return core.Refusal("targets", fmt.Sprintf("%d, the set has %d members", targets, members))
}

// Settled waits for all members and returns how each ended, in call order: return_exceptions=True. Of a group that was
// cancelled as a whole it returns the outcomes and an error that is jobs.ErrCancelled. When ctx ends first, it returns those
// that are there, the others with jobs.ErrNotDone, and ErrGaveUp. (Of loose handles, one that is jobs.ErrUnknown is the
// error, after all others have ended, and stands with it at its place.)
func Settled[R any](ctx context.Context, s jobs.Set[R]) ([]jobs.Outcome[R], error) {
	if members, ok := core.MembersOf(s); ok {
		return settledLoose[R](ctx, members)
	}
	var outs []jobs.Outcome[R]
	g := &reading{set: s, total: func(id string, total int) {
		outs = make([]jobs.Outcome[R], total)
		for i := range outs {
			core.FillOutcome(core.OpenFate(id, i), &outs[i])
		}
	}, put: func(f *core.Fate) error {
		core.FillOutcome(f, &outs[f.Index])
		return nil
	}}
	f, err := g.await(ctx, true)
	if err == nil {
		err = g.finish(ctx, f)
	}
	if err == nil {
		err = core.Failure(f)
	}
	if core.Ended(err) {
		g.partly(ctx)
	}
	return outs, waiting(err)
}

func settledLoose[R any](ctx context.Context, members []core.Handle) ([]jobs.Outcome[R], error) {
	arrivals, err := core.Arrive(members)
	if err != nil {
		return nil, err
	}
	defer arrivals.Close()
	outs := make([]jobs.Outcome[R], len(members))
	for i, m := range members {
		core.FillOutcome(core.OpenFate("", i), &outs[i])
		outs[i].ID = core.IDOf(m)
	}
	put := func(place int, f *core.Fate) {
		f.Index, f.IsMember = place, true
		core.FillOutcome(f, &outs[place])
	}
	var first error
	for arrivals.Len() > 0 {
		place, f, err := arrivals.Next(ctx)
		switch {
		case core.Ended(err):
			partly(ctx, func(ctx context.Context) { arrivals.Rest(ctx, put) })
			return outs, waiting(err)
		case err != nil:
			outs[place].Err = err
			if first == nil {
				first = err
			}
		default:
			put(place, f)
		}
	}
	return outs, first
}

// collect waits for all members of s. It calls size with their number, then put for each that has succeeded, in any order, and
// returns at the first failure. With ErrGaveUp it has put what was there. Put may be called from several goroutines, for different
// places; it must not keep what it is given.
func collect[R any](ctx context.Context, s jobs.Set[R], size func(total int), put func(place int, f *core.Fate) error) error {
	if members, ok := core.MembersOf(s); ok {
		return collectLoose(ctx, members, size, put)
	}
	g := &reading{set: s, total: func(_ string, total int) { size(total) }, put: func(f *core.Fate) error {
		if err := core.Failure(f); err != nil {
			return err
		}
		return put(f.Index, f)
	}}
	f, err := g.await(ctx, false)
	if err == nil {
		err = core.Failure(f)
	}
	if err == nil {
		err = g.finish(ctx, f)
	}
	if core.Ended(err) {
		g.partly(ctx)
	}
	return waiting(err)
}

func collectLoose(ctx context.Context, members []core.Handle, size func(total int), put func(place int, f *core.Fate) error) error {
	arrivals, err := core.Arrive(members)
	if err != nil {
		return err
	}
	defer arrivals.Close()
	size(len(members))
	for arrivals.Len() > 0 {
		place, f, err := arrivals.Next(ctx)
		if core.Ended(err) {
			partly(ctx, func(ctx context.Context) {
				arrivals.Rest(ctx, func(place int, f *core.Fate) {
					if core.Failure(f) == nil {
						_ = put(place, f) // one that does not decode is not there
					}
				})
			})
		}
		if err == nil {
			err = core.Failure(f)
		}
		if err == nil {
			err = put(place, f)
		}
		if err != nil {
			return waiting(err)
		}
	}
	return nil
}

// reading collects the members of one group, all at its end, or those that are there when the context ends.
type reading struct {
	set     core.Handle
	total   func(id string, total int)
	put     func(f *core.Fate) error // from several goroutines, each member once
	members *core.Members

	mu    sync.Mutex
	bad   error // of put, about the earliest member in recording order that it refused before the group's end
	order int   // of that member
}

// When a group that is awaited is read although it has not ended, so that an await that is given up has something to return:
// now and then, a last time shortly before the context's deadline if there is one, and for a moment after its end.
const (
	firstGlance = 250 * time.Millisecond
	laterGlance = 10 * time.Second
	lastGlance  = 500 * time.Millisecond // before the deadline, at most
	lateMost    = 30 * time.Millisecond
)

// await waits for the group's outcome, or its barrier.
func (g *reading) await(ctx context.Context, settled bool) (*core.Fate, error) {
	group, err := core.ArriveGroup(g.set, settled)
	if err != nil {
		return nil, err
	}
	defer group.Close()
	var last time.Time
	if deadline, ok := ctx.Deadline(); ok {
		last = deadline.Add(-min(time.Until(deadline)/4, lastGlance))
	}
	for pause := firstGlance; ; pause = min(4*pause, laterGlance) {
		glance := time.Now().Add(pause)
		if !last.IsZero() && last.Before(glance) {
			if glance = last; time.Now().After(last) {
				_, f, err := group.Next(ctx)
				return f, err
			}
		}
		early, cancel := context.WithDeadline(ctx, glance)
		_, f, err := group.Next(early)
		cancel()
		if !core.Ended(err) || ctx.Err() != nil {
			return f, err
		}
		if err := g.open(ctx, nil); err == nil {
			_ = g.read(ctx) // what is wrong with it the waiting will say
		}
	}
}

// open begins to read; f is the group's end, if it has ended.
func (g *reading) open(ctx context.Context, f *core.Fate) (err error) {
	if g.members != nil {
		return nil
	}
	var m *core.Members
	if f != nil {
		m, err = core.EndedMembers(g.set, f)
	} else {
		m, err = core.OpenMembers(ctx, g.set)
	}
	if err != nil {
		return err
	}
	g.members = m
	g.total(m.ID(), m.Total())
	return nil
}

// read reads what is recorded. What put refuses is the group's error at its end; until then it does not matter.
func (g *reading) read(ctx context.Context) error { return g.members.Take(ctx, g.keep) }

// keep is put, for once: its first error stays.
func (g *reading) keep(f *core.Fate) error {
	if err := g.put(f); err != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.bad == nil || f.Order < g.order {
			g.bad, g.order = err, f.Order
		}
	}
	return nil
}

// finish reads the rest of a group whose members have all ended.
func (g *reading) finish(ctx context.Context, f *core.Fate) error {
	if err := g.open(ctx, f); err != nil {
		return err
	}
	if g.bad != nil {
		return g.bad
	}
	return g.members.TakeAll(ctx, g.put)
}

// partly reads what is there although the context has ended.
func (g *reading) partly(ctx context.Context) {
	partly(ctx, func(ctx context.Context) {
		if err := g.open(ctx, nil); err == nil {
			_ = g.read(ctx)
		}
	})
}

func partly(ctx context.Context, f func(context.Context)) {
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lateMost)
	defer cancel()
	f(late)
}
