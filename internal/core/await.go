package core

import (
	"context"
	"errors"

	"github.com/gatherq/gatherq/internal/inbox"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// EndedError is the end of the caller's context, which came first.
type EndedError struct{ Cause error }

func (e *EndedError) Error() string { return e.Cause.Error() }

// Unwrap returns the context's cause.
func (e *EndedError) Unwrap() error { return e.Cause }

// Ended reports whether err is the end of the caller's context.
func Ended(err error) bool {
	_, ok := err.(*EndedError) //nolint:errorlint // made by this package, never wrapped
	return ok
}

// Await blocks until h has ended and returns how, the value of a task inside; of a group LoadGroup reads it. The error is about the
// waiting: an *EndedError, or a *jobs.Error or *jobs.RejectedError.
func Await(ctx context.Context, h Handle) (*Fate, error) {
	r, err := RefOf(h)
	if err != nil {
		return nil, err
	}
	a, err := r.engine.inbox.Wait(ctx, r.interest())
	if err != nil {
		return nil, r.engine.trouble(ctx, r.id, err)
	}
	return r.engine.fate(ctx, r, a)
}

// Peek looks without waiting: how h ended, or stands. The error is about the looking, as with Await.
func Peek(ctx context.Context, h Handle) (*Fate, error) {
	r, err := RefOf(h)
	if err != nil {
		return nil, err
	}
	e := r.engine
	if e.Closed() {
		return nil, face.Trouble(kindClosed, r.id, nil)
	}
	answers, err := e.records.Watch(ctx, "", []record.Interest{r.interest()})
	if err != nil {
		return nil, e.trouble(ctx, r.id, err)
	}
	f, err := e.fate(ctx, r, &answers[0])
	if err != nil || f.State != record.Succeeded {
		return f, err
	}
	return f, LoadGroup(ctx, h, f)
}

// Kinds of jobs' errors that are about the waiting.
const (
	kindUnknown     = "unknown"
	kindUnavailable = "unavailable"
	kindClosed      = "closed"
)

// trouble makes an error about Redis one for the user.
func (e *Engine) trouble(ctx context.Context, id string, err error) error {
	switch {
	case errors.Is(err, inbox.ErrClosed):
		return face.Trouble(kindClosed, id, nil)
	case ctx.Err() != nil:
		return &EndedError{context.Cause(ctx)}
	case e.Closed():
		return face.Trouble(kindClosed, id, nil)
	}
	return face.Trouble(kindUnavailable, id, err)
}

// fate makes a Fate of an answer, which it leaves as it is.
func (e *Engine) fate(ctx context.Context, r *Ref, a *record.Answer) (*Fate, error) {
	f := &Fate{Outcome: a.Outcome, Total: a.Members}
	f.ID = r.id
	switch a.Status {
	case record.IsUnknown:
		if err := e.unknown(ctx, r.id); err != nil {
			return nil, err
		}
		return nil, face.Trouble(kindUnknown, r.id, nil)
	case record.IsExpired:
		f.Failure = &record.Failure{Kind: string(record.Expired)}
		return f, nil
	case record.Waiting:
		return f, nil
	}
	if r.kind == Task {
		f.group()
		f.Raw.Leaf, f.Value = f.Value, nil
		if f.Link != "" {
			return f, e.resolve(ctx, memo{}, f)
		}
		return f, nil
	}
	if r.kind == Group && a.Outcome.Index >= 0 && f.Failure != nil {
		f.First = e.member(ctx, r.id, a.Outcome)
	}
	f.Index = 0
	return f, nil
}

// group fills in what a member's ID says.
func (f *Fate) group() {
	if g, i, ok := keys.SplitMember(f.ID); ok {
		f.Group, f.Index, f.IsMember = g, i, true
	} else {
		f.Index = 0
	}
}

// unknown finds out whether an unknown ID may be due to a client that looks in the wrong places.
func (e *Engine) unknown(ctx context.Context, id string) error {
	if e.agreed.Load() {
		return nil
	}
	call := e.namespaceCall()
	if err := e.conn.Do(ctx, call); err != nil {
		return nil
	}
	if wrong, ok := errors.AsType[*NamespaceError](e.agrees(call)); ok {
		return face.Trouble(kindUnavailable, id, wrong)
	}
	return nil
}

// member reads the member that decided a group's outcome. Where it cannot be read any more, what the group knows of it has to do.
func (e *Engine) member(ctx context.Context, group string, o record.Outcome) *Fate {
	f := &Fate{Outcome: record.Outcome{
		ID: keys.Member(group, o.Index), Group: group, Index: o.Index, State: o.State, Failure: o.Failure,
		Attempt: o.Attempt, FinishedAt: o.FinishedAt,
	}, IsMember: true}
	answers, err := e.records.Watch(ctx, "", []record.Interest{{ID: f.ID, View: record.Whole}})
	if err == nil && answers[0].Status == record.HasEnded && answers[0].Outcome.State == o.State {
		f.Outcome = answers[0].Outcome
		f.ID = keys.Member(group, o.Index)
		f.group()
	}
	return f
}
