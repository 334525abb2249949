package jobs

import (
	"context"
	"errors"
	"time"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/record"
)

// State is where a task or a group stands. The list only grows.
type State string

// The states on the way.
const (
	StateScheduled  State = "scheduled"  // waits for its time
	StatePending    State = "pending"    // waits for a worker; Info.Waits says for what
	StateRunning    State = "running"    // in its handler
	StateSuspended  State = "suspended"  // its handler awaits and holds no slot
	StateRetrying   State = "retrying"   // waits out its backoff
	StateCancelling State = "cancelling" // told to stop, not ended yet
	StateFinishing  State = "finishing"  // its handler has returned, its children have not
)

// The final states.
const (
	StateSucceeded State = "succeeded"
	StateFailed    State = "failed" // Err.Kind says how
	StateCancelled State = "cancelled"
	StateTimedOut  State = "timed_out"  // Err.Kind: ErrTimedOut or ErrDeadline
	StateCrashLoop State = "crash_loop" // it killed its worker too often
	StateLost      State = "lost"       // its record was seen and is gone
	StateExpired   State = "expired"    // it ended, and its retention is over
)

// Final reports whether s is an end.
func (s State) Final() bool { return record.State(s).Final() }

// Outcome is how a task or a member stands or ended. Its JSON is the result line of the command line.
type Outcome[R any] struct {
	ID         string
	Index      int // place in the calls
	Order      int // place in the order in which Redis recorded the ends, from 1; the cursor of await.After
	State      State
	Value      R
	Err        error // an *Error; nil when it succeeded, ErrNotDone before the end
	Attempt    int   // 1 + charged failures; a crash, a drain or a give-back is not charged
	Delivery   int   // the hand-over to a worker that ended it; larger than any before
	Worker     string
	QueuedAt   time.Time
	StartedAt  time.Time // zero: it never started
	FinishedAt time.Time

	member bool // Index says something
}

// Result returns the value or the error; ErrNotDone before the end.
func (o Outcome[R]) Result() (R, error) {
	if o.Err == nil && o.State != StateSucceeded {
		return o.Value, &Error{Kind: ErrNotDone, ID: o.ID, Index: o.Index}
	}
	return o.Value, o.Err
}

// Peek looks without blocking: the outcome, or the state so far. The error is about the looking: ErrUnknown, ErrUnavailable,
// ErrRejected, the cause of ctx. It does not count as reading a failure.
func Peek[R any](ctx context.Context, a Awaitable[R]) (Outcome[R], error) {
	var o Outcome[R]
	f, err := core.Peek(ctx, a)
	switch {
	case core.Ended(err):
		return o, errors.Unwrap(err)
	case err == nil:
		o.fill(f)
	}
	return o, err
}

// fill makes o of how something stands in Redis.
func (o *Outcome[R]) fill(f *core.Fate) {
	*o = Outcome[R]{
		ID: f.Name(), Index: f.Index, Order: f.Order, State: State(f.State), Attempt: f.Attempt, Delivery: int(f.Delivery), Worker: f.Worker,
		QueuedAt: f.QueuedAt, StartedAt: f.StartedAt, FinishedAt: f.FinishedAt, member: f.IsMember,
	}
	switch {
	case f.State == record.Succeeded:
		o.Err = decode(f, &o.Value)
	case f.State.Final():
		o.Err = failure(f)
	default:
		if o.State == "" {
			o.State = StatePending
		}
		o.Err = &Error{Kind: ErrNotDone, ID: o.ID, Type: f.Type, Group: f.Group, Index: f.Index}
	}
}
