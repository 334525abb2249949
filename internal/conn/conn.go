// Package conn carries scripts and commands to Redis and says honestly what became of them.
//
// go-redis sends a command again after a lost reply without telling; here every command is sent with its retries switched off
// (NoRetry, honoured by go-redis alone and in pipelines), and Do repeats what may be repeated and remembers whether
// something may have been executed. Do returns at the end of its context, also while Redis accepts and never answers.
package conn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Limits of Do's own patience where the context has no end.
const (
	FirstContact = 5 * time.Second  // until the first answer ever
	Patience     = 30 * time.Second // after that, also for LOADING, READONLY and the like
)

// Error is a failure to get an answer from Redis.
type Error struct {
	Doubt bool // something of the call may have been executed
	Err   error
}

func (e *Error) Error() string {
	if e.Doubt {
		return fmt.Sprintf("redis did not answer: %v", e.Err)
	}
	return fmt.Sprintf("redis is not reachable: %v", e.Err)
}

// Unwrap returns what the last try met, or the cause of the context's end.
func (e *Error) Unwrap() error { return e.Err }

// Conn is a Redis client with honest retries. It is safe for concurrent use.
type Conn struct {
	rdb      redis.UniversalClient
	log      *slog.Logger
	answered atomic.Int64 // monotonic time of the last answer, see LastAnswer; 0: never
	start    time.Time
}

// New returns a Conn over rdb, which stays the caller's.
func New(rdb redis.UniversalClient, log *slog.Logger) *Conn {
	return &Conn{rdb: rdb, log: log, start: time.Now()}
}

// Redis returns the client underneath, for subscriptions and for asynq.
func (c *Conn) Redis() redis.UniversalClient { return c.rdb }

// Private reports whether Redis lies inside this process and no other can reach it, so that nothing happens in it unheard. Loops
// that only look for what was lost may be slow then: in tests with virtual time days pass by.
func (c *Conn) Private() bool {
	client, ok := c.rdb.(*redis.Client)
	return ok && client.Options().Network == "pipe"
}

// LastAnswer returns when Redis last answered anything, and false if it never did.
func (c *Conn) LastAnswer() (time.Time, bool) {
	n := c.answered.Load()
	return c.start.Add(time.Duration(n)), n != 0
}

// Answered notes an answer that came by another way, say a subscription.
func (c *Conn) Answered() { c.answered.Store(int64(max(time.Since(c.start), 1))) }

// Do sends the calls in one pipeline and waits for all answers. A nil error means that every call was answered; what a call
// itself got is in its Reply or Err (an error reply of Redis, not a failure to reach it). Otherwise the error is an *Error and
// calls without an answer have it as their Err, too.
func (c *Conn) Do(ctx context.Context, calls ...*Call) error {
	if len(calls) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return c.fail(calls, &Error{Err: context.Cause(ctx)})
	}
	// The work runs apart: go-redis does not listen to a context while it waits for an answer.
	work := &attempt{calls: make([]Call, len(calls))}
	for i, call := range calls {
		work.calls[i] = *call
		work.calls[i].Reply, work.calls[i].Err, work.calls[i].Again = nil, errNoAnswer, false
	}
	done := make(chan error, 1)
	go func() { done <- c.run(ctx, work) }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done: // both at once: the answer counts
		default:
			return c.fail(calls, &Error{Doubt: work.sent.Load(), Err: context.Cause(ctx)})
		}
	}
	for i := range calls {
		calls[i].Reply, calls[i].Err, calls[i].Again = work.calls[i].Reply, work.calls[i].Err, work.calls[i].Again
		if err != nil && errors.Is(calls[i].Err, errNoAnswer) {
			calls[i].Err = err
		}
	}
	return err
}

// All is Do for calls that must all succeed: an error reply to one of them is its error, too.
func (c *Conn) All(ctx context.Context, calls ...*Call) error {
	if err := c.Do(ctx, calls...); err != nil {
		return err
	}
	for _, call := range calls {
		if call.Err != nil {
			return call.Err
		}
	}
	return nil
}

// attempt is the state of one Do, owned by the goroutine that runs it; sent is read from outside.
type attempt struct {
	calls []Call
	sent  atomic.Bool
}

var errNoAnswer = errors.New("no answer yet")

func (c *Conn) fail(calls []*Call, err *Error) error {
	for _, call := range calls {
		call.Err = err
	}
	return err
}

func (c *Conn) run(ctx context.Context, a *attempt) error {
	limit := Patience
	if _, ok := c.LastAnswer(); !ok {
		limit = FirstContact
	}
	begin := time.Now()
	whole := false
	for try := 0; ; try++ {
		open := a.open()
		if len(open) == 0 {
			return nil
		}
		for _, call := range open {
			call.Again = try > 0
		}
		again, noscript, last := c.once(ctx, a, open, whole)
		if !again {
			continue // all of them answered: open is empty now
		}
		if noscript {
			whole = true
			continue
		}
		if time.Since(begin) > limit || ctx.Err() != nil {
			if ctx.Err() != nil {
				last = context.Cause(ctx)
			}
			return &Error{Doubt: a.sent.Load(), Err: last}
		}
		pause := time.NewTimer(rand.N(min(10*time.Millisecond<<min(try, 7), time.Second)) + time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return &Error{Doubt: a.sent.Load(), Err: context.Cause(ctx)}
		}
	}
}

func (a *attempt) open() (open []*Call) {
	for i := range a.calls {
		if errors.Is(a.calls[i].Err, errNoAnswer) {
			open = append(open, &a.calls[i])
		}
	}
	return open
}

// once sends the open calls in their order, in one pipeline.
func (c *Conn) once(ctx context.Context, a *attempt, open []*Call, whole bool) (again, noscript bool, last error) {
	cmds := make([]*noRetry, len(open))
	before := a.sent.Load()
	if len(open) == 1 {
		cmds[0] = newNoRetry(ctx, open[0].args(whole)...)
		a.sent.Store(true) // until proven otherwise
		_ = c.rdb.Process(ctx, cmds[0])
	} else {
		pipe := c.rdb.Pipeline()
		for i, call := range open {
			cmds[i] = newNoRetry(ctx, call.args(whole)...)
			_ = pipe.Process(ctx, cmds[i])
		}
		a.sent.Store(true)
		_, _ = pipe.Exec(ctx)
	}
	answered, executed := false, before
	for i, call := range open {
		reply, cmdErr := cmds[i].Result()
		switch {
		case cmdErr == nil || errors.Is(cmdErr, redis.Nil):
			answered, executed = true, true
			call.Reply, call.Err = reply, nil
		case isReply(cmdErr) && !Passing(cmdErr):
			answered = true
			if strings.HasPrefix(cmdErr.Error(), "NOSCRIPT") {
				again, noscript, last = true, true, cmdErr
				continue
			}
			call.Err = cmdErr
		default:
			again, last = true, cmdErr
			if isReply(cmdErr) {
				answered = true
			} else if !unsent(cmdErr) {
				executed = true // perhaps
			}
		}
	}
	if answered {
		c.Answered()
	}
	a.sent.Store(executed)
	return again, noscript, last
}
