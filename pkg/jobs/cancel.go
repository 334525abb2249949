package jobs

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// maxReason is the longest reason of a cancel, in bytes.
const maxReason = 1000

// Cancel asks a task or a group to end, with a reason of up to 1,000 bytes that its awaiters see. It returns once the request
// is durable; accepted is false when the outcome was written. A second one is accepted and changes nothing. To wait for the
// effect: await.Outcome, of a group await.Outcome of its Settled view.
//
// A task that has not started ends at once. A running one is told by its context, and what its handler returns is the
// outcome; after Grace, or when its worker died, it ends cancelled.
//
// A group is cancelled until its outcome, its Settled view until the barrier, when all members have ended; either way
// every unfinished member is. After that the group ends at the first member that ends cancelled or failed, or, if all
// kept their values, as cancelled at the end; the Settled view ends at the barrier, as cancelled, its items readable.
//
// The errors are ErrUnknown, ErrExpired, ErrRejected, ErrUnavailable (it was not requested) and ErrIndeterminate (it may have
// been; the same call again is safe).
func Cancel(ctx context.Context, ref Ref, reason string) (accepted bool, err error) {
	r, err := core.RefOf(ref)
	if err != nil {
		return false, err
	}
	if len(reason) > maxReason {
		return false, rejected("reason", fmt.Sprintf("%d bytes, at most %d", len(reason), maxReason))
	}
	if !utf8.ValidString(reason) {
		return false, rejected("reason", "not UTF-8")
	}
	if r.Engine().Closed() {
		return false, ErrClosed
	}
	e, why := r.Engine(), &record.Failure{Kind: string(ErrCancelled), Message: reason}
	res, err := cancel(ctx, e, r, why)
	if err != nil {
		return false, unanswered(r.ID(), err)
	}
	if res.Outbox {
		// Groups elsewhere wait for this end; what is not told here, the fleet tells.
		if err := e.Groups().DeliverOutbox(ctx, e.Keys().Shard(r.ID())); err != nil {
			e.Log().Debug("the end is not told to other groups yet; a worker does it", "task_id", r.ID(), "err", err)
		}
	}
	switch {
	case res.Accepted:
		return true, nil
	case res.State == "":
		return false, &Error{Kind: ErrUnknown, ID: r.ID()}
	case res.State == record.Expired:
		return false, &Error{Kind: ErrExpired, ID: r.ID()}
	}
	return false, nil
}

func cancel(ctx context.Context, e *core.Engine, r *core.Ref, why *record.Failure) (record.CancelResult, error) {
	if r.Kind() != core.Task {
		return e.Groups().Cancel(ctx, r.ID(), r.Kind() == core.Settled, why)
	}
	if gid, index, ok := keys.SplitMember(r.ID()); ok {
		return e.Groups().CancelMember(ctx, gid, index, why)
	}
	return e.Records().Cancel(ctx, r.ID(), why)
}
