package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/fleet"
	"github.com/gatherq/gatherq/internal/record"
)

// Info is all that is known of a task or group, but its arguments and result.
type Info struct {
	ID, Type, Queue string
	Group           string // of a member: the gather that started it
	Index           int    // of a member: its place there
	IsGroup         bool
	State           State
	Waits           string // why not yet: "attempt 3 at 12:03:04 UTC", "starts at …", "no worker serves queue x", "queue x is paused", "8 members run, no more may at once"
	Attempt         int    // so far, from 1
	Attempts        int    // at most
	Delivery        int
	Crashes         int    // workers that died with it in the last 24 h
	RetryOf         string // the ended task or group that this one does again
	Worker          string
	CancelReason    string
	CancelRequested time.Time
	Counts          map[State]int // of a group's members
	QueuedAt        time.Time
	StartedAt       time.Time
	FinishedAt      time.Time
	Deadline        time.Time // zero: none
	ExpiresAt       time.Time // zero: it is open
}

// Inspect returns what is known of a task or group, without waiting for anything but Redis. The errors are ErrUnknown,
// ErrExpired, ErrRejected and ErrUnavailable.
func Inspect(ctx context.Context, ref Ref) (Info, error) {
	r, err := core.RefOf(ref)
	if err != nil {
		return Info{}, err
	}
	if r.Engine().Closed() {
		return Info{}, ErrClosed
	}
	e, id := r.Engine(), r.ID()
	rec, err := e.Records().Look(ctx, id)
	if err != nil {
		return Info{}, unread(id, err)
	}
	switch rec.State {
	case "":
		return inspectMember(ctx, e, id)
	case record.Expired:
		return Info{ID: id, State: StateExpired}, &Error{Kind: ErrExpired, ID: id}
	}
	opts, err := record.DecodeOptions(rec.Options)
	if err != nil {
		return Info{}, &Error{Kind: ErrUndecodable, ID: id, cause: err}
	}
	info := Info{
		ID: id, Type: rec.Type, Queue: rec.Queue, Group: rec.Group, Index: rec.Index, IsGroup: rec.IsGroup, State: State(rec.State),
		Attempt: rec.Attempt, Attempts: opts.Retries + 1, Delivery: int(rec.Number), Crashes: rec.Crashes, RetryOf: rec.RetryOf,
		Worker: rec.Worker, CancelRequested: rec.CancelAt, QueuedAt: rec.QueuedAt, StartedAt: rec.StartedAt,
		FinishedAt: rec.FinishedAt, Deadline: rec.Deadline, ExpiresAt: rec.ExpiresAt,
	}
	if rec.CancelReason != nil {
		info.CancelReason = rec.CancelReason.Message
	}
	if rec.IsGroup {
		info.Attempt, info.Attempts = 0, 0
		info.Counts = make(map[State]int, len(rec.Counts))
		for state, n := range rec.Counts {
			info.Counts[State(state)] = n
		}
	}
	info.Waits, err = waits(ctx, e, rec)
	return info, err
}

// inspectMember looks at a member that has no record of its own, as long as it travels in its group's ranges.
func inspectMember(ctx context.Context, e *core.Engine, id string) (Info, error) {
	answers, err := e.Records().Watch(ctx, "", []record.Interest{{ID: id, View: record.Whole}})
	if err != nil {
		return Info{}, unread(id, err)
	}
	switch answers[0].Status {
	case record.IsUnknown:
		return Info{}, &Error{Kind: ErrUnknown, ID: id}
	case record.IsExpired:
		return Info{ID: id, State: StateExpired}, &Error{Kind: ErrExpired, ID: id}
	}
	o := answers[0].Outcome
	return Info{
		ID: id, Type: o.Type, Group: o.Group, Index: o.Index, State: State(o.State), Attempt: o.Attempt, Delivery: int(o.Delivery),
		Worker: o.Worker, QueuedAt: o.QueuedAt, StartedAt: o.StartedAt, FinishedAt: o.FinishedAt,
	}, nil
}

// unread is the error of a look that Redis did not answer.
func unread(id string, err error) error { return &Error{Kind: ErrUnavailable, ID: id, cause: err} }

// waits says why a task or group, or those of its members that have not started, do not start yet; "" where nothing keeps them.
func waits(ctx context.Context, e *core.Engine, rec record.Info) (string, error) {
	if rec.Queueing {
		return "waits until fewer members of its group run", nil
	}
	switch rec.State {
	case record.Scheduled:
		return "starts at " + clock(rec.DueAt, rec.Now), nil
	case record.Retrying:
		return fmt.Sprintf("attempt %d at %s", rec.Attempt, clock(rec.DueAt, rec.Now)), nil
	case record.Pending, record.Running:
		if rec.MaxRunning > 0 && rec.Permits >= rec.MaxRunning && rec.Counts[record.Pending] > 0 {
			return fmt.Sprintf("%d members run, no more may at once", rec.Permits), nil
		}
		if rec.State == record.Running {
			return "", nil
		}
	default:
		return "", nil
	}
	paused := conn.NewCommand("exists", e.Keys().AsynqPaused(rec.Queue))
	alive := rec.Now.Add(-fleet.Alive).UnixMilli() // the dead stand there, too, until somebody has dealt with them
	workers := conn.NewCommand("zrevrangebyscore", e.Keys().Workers(), "+inf", alive, "limit", 0, maxWorkers)
	if err := e.Conn().Do(ctx, paused, workers); err != nil {
		return "", unread(rec.ID, err)
	}
	if n, _ := paused.Reply.(int64); n > 0 {
		return "queue " + rec.Queue + " is paused", nil
	}
	served, err := serves(ctx, e, rec.Queue, workers.Reply)
	if err != nil {
		return "", unread(rec.ID, err)
	}
	if !served {
		return "no worker serves queue " + rec.Queue, nil
	}
	return "waits for a worker", nil
}

// maxWorkers is how many workers are asked for their queues, the latest to beat first.
const maxWorkers = 1000

// serves reports whether one of the workers takes tasks of a queue.
func serves(ctx context.Context, e *core.Engine, queue string, workers any) (bool, error) {
	ids, _ := workers.([]any)
	calls := make([]*conn.Call, 0, len(ids))
	for _, id := range ids {
		calls = append(calls, conn.NewCommand("hget", e.Keys().Worker(fmt.Sprint(id)), "queues"))
	}
	if err := e.Conn().Do(ctx, calls...); err != nil {
		return false, err
	}
	for _, call := range calls {
		text, _ := call.Reply.(string)
		if queueListed(text, queue) {
			return true, nil
		}
	}
	return false, nil
}

// queueListed reads a worker's queues with their weights.
func queueListed(text, queue string) bool {
	var weights map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &weights) == nil {
		_, ok := weights[queue]
		return ok
	}
	return false
}

// clock writes an instant shortly: the date only where it is another day.
func clock(t, now time.Time) string {
	t, now = t.UTC(), now.UTC()
	if t.YearDay() == now.YearDay() && t.Year() == now.Year() {
		return t.Format("15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04:05 UTC")
}
