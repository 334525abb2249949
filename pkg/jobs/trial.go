package jobs

import (
	"context"
	"time"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/record"
	"github.com/gatherq/gatherq/internal/worker"
)

func init() { worker.UseTrial(try) } //nolint:gochecknoinits // jobstest links this package in any case, and nothing runs before it

// try runs one of w's handlers as package jobstest asks for it.
func try(ctx context.Context, w any, args any, j worker.Job) ([]byte, error) {
	jw := w.(*Worker) //nolint:forcetypeassert // jobstest has nothing else
	jw.mu.Lock()
	handler, errs := jw.handlers[j.Type], jw.errs
	jw.mu.Unlock()
	if handler == nil {
		if len(errs) > 0 {
			return nil, errs[0]
		}
		return nil, &Error{Kind: ErrUnknownType, ID: j.ID, Type: j.Type}
	}
	var refused *RejectedError
	if j.Args, refused = encodeArgs(args, jw.client.cfg.MaxArgs); refused != nil {
		return nil, refused
	}
	res := handler(ctx, &j)
	if res.Failure == nil {
		if r := between("result", len(res.Value), 0, jw.client.cfg.MaxResult); r != nil {
			res.Failure = &record.Failure{Kind: string(ErrResultTooLarge), Message: r.Why}
		}
	}
	if res.Failure == nil {
		return res.Value, nil
	}
	state := record.Failed
	if res.Failure.Kind == string(ErrCancelled) {
		state = record.Cancelled
	}
	now := time.Now()
	return nil, failure(&core.Fate{Outcome: record.Outcome{
		ID: j.ID, Type: j.Type, Group: j.Group, Index: j.Index, State: state, Failure: res.Failure,
		Attempt: j.Attempt, Delivery: j.Delivery, Started: true, StartedAt: now, FinishedAt: now,
	}})
}
