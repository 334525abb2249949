package jobs

import (
	"context"
	"errors"
	"iter"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/names"
)

// Gather starts those members that are not started yet and binds all into a group, all or nothing. Members are calls,
// tasks or groups, up to 10,000,000; one may stand at several places and runs once; a call without an ID is a new task at
// each place. Of none: a group that has succeeded already. ID and OnConflict are as with CreateTask: the group with that ID
// is the same one if its calls are the same.
//
// Arguments are encoded on several goroutines at a time.
//
// With Delay or At no member starts earlier; Deadline and MaxRunning hold for the group. The other options are defaults of all calls.
//
// Every error but ErrIndeterminate and ErrNotDurable (the handle is returned, the group exists) means: nothing was stored.
func Gather[R any, M Member[R]](ctx context.Context, c *Client, members []M, opts ...GatherOption) (*Group[R], error) {
	g, err := newGathering(c, opts)
	if err != nil {
		return nil, err
	}
	if len(members) > names.MaxMembers {
		return nil, g.refuse(between("members", len(members), 0, names.MaxMembers))
	}
	return groupOf[R](g, g.gather(ctx, len(members), partsOf(members)))
}

// partsOf returns what takes the type off a member. Calls stay where they are.
func partsOf[R any, M Member[R]](members []M) func(i int) (part, *RejectedError) {
	if calls, ok := any(members).([]Call[R]); ok {
		return func(i int) (part, *RejectedError) { return part{call: &calls[i].callSpec}, nil }
	}
	return func(i int) (part, *RejectedError) { return partOf(members[i]) }
}

// GatherSeq is Gather over a sequence of any length in bounded memory. No member starts before the sequence has ended; where
// Gather's errors mean that nothing was stored, here nothing remains when it returns. Between two members it looks at ctx,
// while the sequence itself waits it cannot.
func GatherSeq[R any, M Member[R]](ctx context.Context, c *Client, members iter.Seq[M], opts ...GatherOption) (*Group[R], error) {
	g, err := newGathering(c, opts)
	if err != nil {
		return nil, err
	}
	if members == nil {
		return nil, g.refuse(rejected("members", "a nil sequence"))
	}
	return gathered[R](ctx, g, func(yield func(part, error) bool) {
		for m := range members {
			p, r := partOf(m)
			if r == nil && !yield(p, nil) || r != nil && !yield(p, r) {
				return
			}
		}
	})
}

// GatherSeq2 is GatherSeq over a source that can fail: its first error is returned, nothing remains, no member has started.
func GatherSeq2[R any, M Member[R]](ctx context.Context, c *Client, members iter.Seq2[M, error], opts ...GatherOption) (*Group[R], error) {
	g, err := newGathering(c, opts)
	if err != nil {
		return nil, err
	}
	if members == nil {
		return nil, g.refuse(rejected("members", "a nil sequence"))
	}
	return gathered[R](ctx, g, func(yield func(part, error) bool) {
		for m, err := range members {
			if err != nil {
				yield(part{}, &sourceError{err})
				return
			}
			p, r := partOf(m)
			if r == nil && !yield(p, nil) || r != nil && !yield(p, r) {
				return
			}
		}
	})
}

// sourceError tells the error of a caller's source from one of ours; the caller gets it as it was.
type sourceError struct{ error }

// part is a member without its type: a call, or something that exists.
type part struct {
	call *callSpec
	ref  *core.Ref
}

func gathered[R any](ctx context.Context, g *gathering, parts iter.Seq2[part, error]) (*Group[R], error) {
	return groupOf[R](g, g.stream(ctx, parts))
}

// groupOf returns the handle of what was gathered, if err leaves it standing.
func groupOf[R any](g *gathering, err error) (*Group[R], error) {
	if !stands(err) {
		return nil, err
	}
	return GroupByID[R](g.c, g.id), err
}

// partOf takes the type off a member. Nil members and handles that were refused when they were made are refused here.
func partOf(m AnyMember) (part, *RejectedError) {
	if m == nil {
		return part{}, rejected("member", "nil")
	}
	p := m.anyMember()
	if p.call != nil {
		return part{call: p.call}, nil
	}
	ref, err := core.RefOf(p.ref)
	if r, ok := errors.AsType[*RejectedError](err); ok {
		return part{}, r
	}
	if err != nil {
		return part{}, rejected("member", err.Error())
	}
	return part{ref: ref}, nil
}
