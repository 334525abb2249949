package await

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// ErrGaveUp is every await's error when the caller's context ended first; it wraps the context's cause. The work goes
// on. It sets the caller's own deadline apart from jobs.ErrTimedOut, which is context.DeadlineExceeded too.
var ErrGaveUp = errors.New("await: gave up")

// waiting makes an error about the waiting the caller's.
func waiting(err error) error {
	if core.Ended(err) {
		return fmt.Errorf("%w: %w", ErrGaveUp, errors.Unwrap(err))
	}
	return err
}

// Result blocks until a has ended and returns its value, or the *jobs.Error it ended with: of a group that of the first member
// to fail, without waiting for the others.
func Result[R any](ctx context.Context, a jobs.Awaitable[R]) (R, error) {
	var none R
	f, err := end(ctx, a)
	if err != nil {
		return none, err
	}
	if err := core.Failure(f); err != nil {
		return none, err
	}
	return core.Decode(a, f)
}

// Outcome blocks until a has ended and returns how, whichever way, also expired or lost; the error is about the waiting:
// jobs.ErrUnknown, jobs.ErrUnavailable, jobs.ErrClosed, jobs.ErrRejected, ErrGaveUp.
func Outcome[R any](ctx context.Context, a jobs.Awaitable[R]) (jobs.Outcome[R], error) {
	var out jobs.Outcome[R]
	f, err := end(ctx, a)
	if err != nil {
		return out, err
	}
	core.FillOutcome(f, &out)
	return out, nil
}

// end waits for the end of h, and reads a group's value.
func end(ctx context.Context, h core.Handle) (*core.Fate, error) {
	f, err := core.Await(ctx, h)
	if err == nil && core.Failure(f) == nil {
		err = core.LoadGroup(ctx, h, f)
	}
	if err != nil {
		return nil, waiting(err)
	}
	return f, nil
}
