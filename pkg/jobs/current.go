package jobs

import (
	"context"
	"time"

	"github.com/gatherq/gatherq/internal/worker"
)

// Run is the task that a handler's context belongs to: asyncio's current_task.
type Run struct {
	ID       string
	Type     string
	Queue    string
	Attempt  int    // 1 + charged failures; a drain or a give-back is not charged
	Delivery int    // larger at each hand-over to a worker: a fencing token for the handler's own database
	Crashes  int    // workers that died with it in the last 24 h
	Group    string // ID of the gather that it is a member of, or empty
	Index    int    // place in Group
	QueuedAt time.Time
	Deadline time.Time // by Redis' clock; zero: none
}

// current is what a handler's context carries.
type current struct {
	run    Run
	client *Client
}

type currentKey struct{}

// Current returns the run of a handler's context; the zero Run, whose ID is empty, elsewhere.
func Current(ctx context.Context) Run {
	if c, ok := ctx.Value(currentKey{}).(*current); ok {
		return c.run
	}
	return Run{}
}

// ClientFrom returns the client of the worker that runs the handler, nil elsewhere. It stays usable while the handler runs.
func ClientFrom(ctx context.Context) *Client {
	if c, ok := ctx.Value(currentKey{}).(*current); ok {
		return c.client
	}
	return nil
}

func withCurrent(ctx context.Context, c *Client, j worker.Job) context.Context {
	return context.WithValue(ctx, currentKey{}, &current{client: c, run: Run{
		ID: j.ID, Type: j.Type, Queue: j.Queue, Attempt: j.Attempt, Delivery: int(j.Delivery), Crashes: j.Crashes,
		Group: j.Group, Index: j.Index, QueuedAt: j.QueuedAt, Deadline: j.Deadline,
	}})
}
