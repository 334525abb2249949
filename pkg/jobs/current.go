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

// current is a handler's context: it carries the run.
type current struct {
	context.Context //nolint:containedctx // it is one
	client          *Client
	job             *worker.Job
}

type currentKey struct{}

// Value implements context.Context.
func (c *current) Value(key any) any {
	if key == (currentKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// Current returns the run of a handler's context; the zero Run, whose ID is empty, elsewhere.
func Current(ctx context.Context) Run {
	c, ok := ctx.Value(currentKey{}).(*current)
	if !ok {
		return Run{}
	}
	j := c.job
	return Run{
		ID: j.ID, Type: j.Type, Queue: j.Queue, Attempt: j.Attempt, Delivery: int(j.Delivery), Crashes: j.Crashes,
		Group: j.Group, Index: j.Index, QueuedAt: j.QueuedAt, Deadline: j.Deadline,
	}
}

// ClientFrom returns the client of the worker that runs the handler, nil elsewhere. It stays usable while the handler runs.
func ClientFrom(ctx context.Context) *Client {
	if c, ok := ctx.Value(currentKey{}).(*current); ok {
		return c.client
	}
	return nil
}
