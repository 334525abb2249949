package await

import (
	"context"
	"errors"
	"iter"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// Option is a setting of the iterators.
type Option interface{ apply(*settings) }

type settings struct {
	after   int
	resumed bool
}

type after int

func (a after) apply(s *settings) { s.after, s.resumed = int(a), true }

// After goes on behind a place seen before: Outcome.Order in AsCompleted, Outcome.Index in InOrder.
func After(n int) Option { return after(n) }

func settingsOf(opts []Option) (s settings, err error) {
	for _, o := range opts {
		if o == nil {
			return s, core.Refusal("option", "nil")
		}
		o.apply(&s)
	}
	if s.resumed && s.after < 0 {
		return s, core.Refusal("after", "negative")
	}
	return s, nil
}

// AsCompleted yields members in the order in which they end. An error comes last and is about the waiting. Break releases
// everything; the rest runs on. A group's order is durable until its retention ends: go on with After(out.Order), from any
// process; one that stands twice comes once for each place. Of loose handles each comes once, those that have ended first,
// in call order, and After is refused.
func AsCompleted[R any](ctx context.Context, s jobs.Set[R], opts ...Option) iter.Seq2[jobs.Outcome[R], error] {
	return func(yield func(jobs.Outcome[R], error) bool) {
		set, err := settingsOf(opts)
		members, loose := core.MembersOf(s)
		if err == nil && loose && set.resumed {
			err = core.Refusal("after", "loose handles have no order that lasts")
		}
		switch {
		case err != nil:
		case loose:
			err = arrive(ctx, members, yield)
		default:
			err = recorded(ctx, s, set, yield)
		}
		if err != nil && !errors.Is(err, errBreak) {
			yield(jobs.Outcome[R]{}, waiting(err))
		}
	}
}

// errBreak is the caller's break.
var errBreak = errors.New("break")

// recorded yields a group's members in recording order.
func recorded[R any](ctx context.Context, s core.Handle, set settings, yield func(jobs.Outcome[R], error) bool) error {
	m, err := core.OpenMembers(ctx, s)
	if err != nil {
		return err
	}
	if set.after > 0 {
		if err := m.Seek(ctx, set.after); err != nil {
			return err
		}
	}
	for {
		page, err := m.Recorded(ctx)
		if err != nil || len(page) == 0 {
			return err
		}
		if err := pass(page, yield); err != nil {
			return err
		}
	}
}

// pass yields a page.
func pass[R any](page []core.Fate, yield func(jobs.Outcome[R], error) bool) error {
	for i := range page {
		var out jobs.Outcome[R]
		fate := page[i]       // a Value keeps it
		page[i] = core.Fate{} // its bytes go before the page does
		core.FillOutcome(&fate, &out)
		if !yield(out, nil) {
			return errBreak
		}
	}
	return nil
}

// arrive yields loose handles as they end, each once.
func arrive[R any](ctx context.Context, members []core.Handle, yield func(jobs.Outcome[R], error) bool) error {
	once, places := core.Distinct(members)
	arrivals, err := core.Arrive(once)
	if err != nil {
		return err
	}
	defer arrivals.Close()
	var last error
	for arrivals.Len() > 0 {
		place, f, err := arrivals.Next(ctx)
		if core.Ended(err) {
			return err
		}
		if err != nil {
			if last == nil {
				last = err // one that cannot be awaited does not hide those that can
			}
			continue
		}
		var out jobs.Outcome[R]
		f.Index, f.IsMember = places[place], true
		core.FillOutcome(f, &out)
		if !yield(out, nil) {
			return errBreak
		}
	}
	return last
}

// InOrder yields members in call order, each as soon as it and those before it have ended, in bounded memory. An error comes
// last and is about the waiting. After(out.Index) goes on behind a member, from any process. Of loose handles all results stay
// in memory until they are yielded.
func InOrder[R any](ctx context.Context, s jobs.Set[R], opts ...Option) iter.Seq2[jobs.Outcome[R], error] {
	return func(yield func(jobs.Outcome[R], error) bool) {
		set, err := settingsOf(opts)
		members, loose := core.MembersOf(s)
		from := 0
		if set.resumed {
			from = set.after + 1
		}
		switch {
		case err != nil:
		case loose:
			err = inOrderLoose(ctx, members, from, yield)
		default:
			err = inOrder(ctx, s, from, yield)
		}
		if err != nil && !errors.Is(err, errBreak) {
			yield(jobs.Outcome[R]{}, waiting(err))
		}
	}
}

// inOrder yields a group's members from a place on.
func inOrder[R any](ctx context.Context, s core.Handle, from int, yield func(jobs.Outcome[R], error) bool) error {
	m, err := core.OpenMembers(ctx, s)
	if err != nil {
		return err
	}
	for {
		page, err := m.InOrder(ctx, from)
		if err != nil || len(page) == 0 {
			return err
		}
		from += len(page)
		if err := pass(page, yield); err != nil {
			return err
		}
	}
}

func inOrderLoose[R any](ctx context.Context, members []core.Handle, from int, yield func(jobs.Outcome[R], error) bool) error {
	if from >= len(members) {
		return nil
	}
	arrivals, err := core.Arrive(members[from:])
	if err != nil {
		return err
	}
	defer arrivals.Close()
	type ended struct {
		f   *core.Fate
		err error
	}
	there := map[int]ended{}
	for next := 0; arrivals.Len() > 0; {
		place, f, err := arrivals.Next(ctx)
		if core.Ended(err) {
			return err
		}
		there[place] = ended{f, err}
		for {
			e, ok := there[next]
			if !ok {
				break
			}
			if e.err != nil {
				return e.err
			}
			delete(there, next)
			var out jobs.Outcome[R]
			e.f.Index, e.f.IsMember = from+next, true
			core.FillOutcome(e.f, &out)
			if !yield(out, nil) {
				return errBreak
			}
			next++
		}
	}
	return nil
}
