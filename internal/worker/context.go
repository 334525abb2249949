package worker

import (
	"context"
	"sync"
	"time"
)

// runContext is what a handler runs on. It ends with the run, with a cause, as one of context.WithCancelCause does. Most handlers
// never look at theirs, so it makes that one only for who does: for Done, or for Value, which context.Cause and derived contexts use.
type runContext struct {
	base context.Context //nolint:containedctx // what it derives from; it never ends

	mu     sync.Mutex
	real   context.Context //nolint:containedctx // nil until somebody looks
	cancel context.CancelCauseFunc
	ended  bool
	cause  error
}

var _ context.Context = (*runContext)(nil)

// begin says what it derives from, before anybody has it.
func (c *runContext) begin(base context.Context) { c.base = base }

// end ends it with a cause, the first time.
func (c *runContext) end(cause error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended, c.cause = true, cause
	if c.cancel != nil {
		c.cancel(cause)
	}
}

func (c *runContext) look() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		c.real, c.cancel = context.WithCancelCause(c.base)
		if c.ended {
			c.cancel(c.cause)
		}
	}
	return c.real
}

// Deadline implements context.Context: a run's time-out and deadline end it, but are not told before.
func (c *runContext) Deadline() (time.Time, bool) { return c.base.Deadline() }

// Done implements context.Context.
func (c *runContext) Done() <-chan struct{} { return c.look().Done() }

// Err implements context.Context.
func (c *runContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return context.Canceled
	}
	return nil
}

// Value implements context.Context.
func (c *runContext) Value(key any) any { return c.look().Value(key) }
