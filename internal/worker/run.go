package worker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// act is what is to be done with a task after a run.
type act int

const (
	actSettle   act = iota // it has ended
	actRetry               // a charged failure, and another attempt
	actGiveBack            // not charged; delivered again
	actDrop                // it is not ours any more
)

// verdict is what came of a run, to be told to the record.
type verdict struct {
	act     act
	state   record.State
	value   []byte // in its envelope
	failure *record.Failure
	delay   time.Duration
}

// run is one delivery of one task in its handler. It is judged once: by what the handler returns, or without it at the end of
// the grace or of the drain. What the handler returns after that is not looked at.
type run struct {
	w       *Worker
	of      *openRange // of a member in a range, else nil
	job     Job
	number  int64
	options record.Options
	handler Handler
	args    []byte              // in their envelope
	finish  func(verdict, *run) // tells the record; must not block

	ctx     context.Context //nolint:containedctx // the handler's own: it begins and ends with the run
	cancel  context.CancelCauseFunc
	started time.Time     // by Redis' clock
	ended   time.Time     // by Redis' clock; set by the judgement
	took    time.Duration // until the judgement, on the local clock

	mu        sync.Mutex
	begun     time.Time // on the local clock, for measuring
	timeout   *time.Timer
	deadline  *time.Timer
	grace     *time.Timer
	judged    bool
	returned  bool
	cancelled bool // a cancel was requested
	reason    *record.Failure
	timedOut  bool
	overdue   bool // past the deadline
	draining  bool
	fenced    bool

	complained bool // the log has said that it is stuck
}

// exec runs the handler in this goroutine. It comes back when the handler returned; where that calls runtime.Goexit it does
// not come back, its deferred functions and those of its callers run.
func (r *run) exec() {
	if !r.begin() {
		return
	}
	res := Result{Failure: &record.Failure{Kind: kindGoexit, Message: "the handler called runtime.Goexit"}}
	normal := false
	defer func() {
		if !normal {
			if v := recover(); v != nil {
				res = Result{Failure: Panicked(v)}
			}
		}
		r.end(res)
	}()
	res = r.call()
	normal = true
}

// call runs the handler with its arguments out of their envelope. Large ones are in memory twice only while it runs.
func (r *run) call() Result {
	j := r.job
	var err error
	if j.Args, err = record.Unwrap(r.args); err != nil {
		return Result{Permanent: true, Failure: &record.Failure{Kind: kindBadArgs, Message: "the arguments cannot be read: " + err.Error()}}
	}
	return r.handler(r.ctx, j)
}

// begin arms the timers and enters the run into the worker's list; false if the run is over before it began.
func (r *run) begin() bool {
	r.ctx, r.cancel = context.WithCancelCause(r.w.base)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.w.cfg.Now()
	left := r.job.Deadline.Sub(now)
	v := verdict{act: actGiveBack}
	switch {
	case r.fenced:
		v = verdict{act: actDrop}
	case r.w.runs.add(r): // the drain is at its end
	case r.cancelled:
		v = verdict{state: record.Cancelled, failure: r.cancelFailure()}
	case !r.job.Deadline.IsZero() && left <= 0:
		v = verdict{state: record.TimedOut, failure: &record.Failure{Kind: kindDeadline, Message: "its deadline passed before it started"}}
	default:
		r.begun, r.started = time.Now(), now
		if !r.job.Deadline.IsZero() {
			r.deadline = time.AfterFunc(left, r.onDeadline)
		}
		r.timeout = time.AfterFunc(r.options.Timeout(), r.onTimeout)
		r.w.count.started.Add(1)
		r.w.count.running.Add(1)
		return true
	}
	r.returned = true
	r.close()
	r.cancel(context.Canceled)
	r.finish(v, r)
	return false
}

// end takes what the handler returned.
func (r *run) end(res Result) {
	took := time.Since(r.begun)
	r.w.count.running.Add(-1)
	r.mu.Lock()
	r.returned = true
	late, complained := r.judged, r.complained
	var v verdict
	if !late {
		v = r.judge(res)
		r.close()
	}
	r.mu.Unlock()
	r.w.sizes.observe(r.job.Type, took)
	r.cancel(context.Canceled)
	if late {
		r.w.count.stuck.Add(-1)
		if complained {
			r.w.cfg.Log.Warn("a stuck handler has returned; its slot is free", "task_id", r.job.ID, "type", r.job.Type, "delivery", r.number, "after", took)
		}
		return
	}
	r.finish(v, r)
}

// close notes the judgement. The caller holds mu.
func (r *run) close() {
	r.judged, r.ended = true, r.w.cfg.Now()
	if !r.begun.IsZero() {
		r.took = time.Since(r.begun)
	}
	for _, t := range []*time.Timer{r.timeout, r.deadline, r.grace} {
		if t != nil {
			t.Stop()
		}
	}
}

// judge says what a handler's return means. The caller holds mu.
func (r *run) judge(res Result) verdict {
	f := res.Failure
	if f != nil {
		f.Message, f.Stack = Clip(f.Message), Clip(f.Stack)
	}
	switch {
	case r.fenced:
		return verdict{act: actDrop}
	case r.draining && !r.cancelled:
		return verdict{act: actGiveBack}
	case f == nil && len(res.Value) > r.w.cfg.MaxResult:
		return verdict{state: record.Failed, failure: &record.Failure{
			Kind: kindTooLarge, Message: fmt.Sprintf("the result has %d bytes, more than %d", len(res.Value), r.w.cfg.MaxResult)}}
	case f == nil:
		return verdict{state: record.Succeeded, value: record.Wrap(res.Value)}
	case r.cancelled && (res.Canceled || f.Kind == kindCancelled):
		return verdict{state: record.Cancelled, failure: r.cancelFailure()}
	case r.cancelled:
		return verdict{state: stateOf(f), failure: f}
	case r.overdue:
		return verdict{state: record.TimedOut, failure: &record.Failure{Kind: kindDeadline, Message: Clip("past its deadline: " + f.Message), Codes: f.Codes}}
	case r.timedOut:
		f = &record.Failure{Kind: kindTimeout, Message: Clip(r.timeoutText() + ": " + f.Message), Codes: f.Codes}
	case f.Kind == kindCancelled:
		return verdict{state: record.Cancelled, failure: f}
	}
	if res.Permanent {
		return verdict{state: stateOf(f), failure: f}
	}
	return r.again(f, res.After)
}

// again is another attempt if one is left, else the end.
func (r *run) again(f *record.Failure, after *time.Duration) verdict {
	if r.job.Attempt > r.options.Retries {
		return verdict{state: stateOf(f), failure: f}
	}
	initial, longest := r.options.Backoff()
	delay := backoff(initial, longest, r.job.Attempt)
	if after != nil {
		delay = max(*after, 0)
	}
	if !r.job.Deadline.IsZero() {
		delay = max(min(delay, r.job.Deadline.Sub(r.w.cfg.Now())), time.Millisecond) // backoff ends at the deadline
	}
	return verdict{act: actRetry, failure: f, delay: delay}
}

// backoff is the wait after that many failed attempts: full jitter over initial × 2ⁿ, at most longest, at least 1 ms.
func backoff(initial, longest time.Duration, failed int) time.Duration {
	ceiling := initial
	for range failed - 1 {
		if ceiling >= longest {
			break
		}
		ceiling *= 2
	}
	return max(rand.N(min(ceiling, longest)+1), time.Millisecond)
}

func (r *run) cancelFailure() *record.Failure {
	if r.reason != nil {
		return r.reason
	}
	return &record.Failure{Kind: kindCancelled}
}

func (r *run) timeoutText() string {
	return fmt.Sprintf("ran longer than its time-out of %s", r.options.Timeout())
}

// requestCancel ends the handler's context for a cancel, and starts the grace. A second one changes nothing, and is false.
func (r *run) requestCancel(reason *record.Failure) (first bool) {
	r.stop(func() error {
		if r.cancelled {
			return nil
		}
		first, r.cancelled, r.reason = true, true, reason
		return r.w.cfg.Causes.Cancelled(r.cancelFailure().Message)
	}, true)
	return first
}

func (r *run) onTimeout() {
	r.stop(func() error { r.timedOut = true; return r.w.cfg.Causes.TimedOut }, true)
}

func (r *run) onDeadline() {
	r.stop(func() error { r.overdue = true; return r.w.cfg.Causes.Deadline }, true)
}

// drain ends the handler's context because the worker stops; who counts the time that is left is the worker.
func (r *run) drain() {
	r.stop(func() error { r.draining = true; return r.w.cfg.Causes.Draining }, false)
}

// stop ends the handler's context with a cause (nil: leave it) and gives it the grace to return.
func (r *run) stop(mark func() error, graceful bool) {
	r.mu.Lock()
	if r.judged {
		r.mu.Unlock()
		return
	}
	cause := mark()
	if cause != nil && graceful && r.grace == nil {
		r.grace = time.AfterFunc(r.options.Grace(), r.onGrace)
	}
	r.mu.Unlock()
	if cause != nil {
		r.cancel(cause)
	}
}

// onGrace settles a task whose handler did not return in time.
func (r *run) onGrace() {
	r.abandon(0, func() verdict {
		switch {
		case r.cancelled:
			return verdict{state: record.Cancelled, failure: r.cancelFailure()}
		case r.overdue:
			return verdict{state: record.TimedOut, failure: &record.Failure{Kind: kindDeadline, Message: "past its deadline, and its handler did not return"}}
		default:
			return r.again(&record.Failure{Kind: kindTimeout, Message: r.timeoutText() + ", and its handler did not return"}, nil)
		}
	})
}

// giveBack ends the run at the end of a drain.
func (r *run) giveBack() {
	r.abandon(-1, func() verdict { return verdict{act: actGiveBack} })
}

// fence ends the run because the task has a newer delivery.
func (r *run) fence() {
	r.stop(func() error { r.fenced = true; return r.w.cfg.Causes.Fenced }, false)
	r.abandon(r.options.Grace(), func() verdict { return verdict{act: actDrop} })
}

// abandon judges a run whose handler has not returned. Its slot stays taken until it does; where that is not so after patience, the
// log says it (negative: never).
func (r *run) abandon(patience time.Duration, judge func() verdict) {
	r.mu.Lock()
	if r.judged {
		r.mu.Unlock()
		return
	}
	v := judge()
	r.close()
	r.w.count.stuck.Add(1)
	r.mu.Unlock()
	r.cancel(context.Canceled)
	if patience >= 0 {
		time.AfterFunc(patience, r.complain)
	}
	r.finish(v, r)
}

// complain says that a handler does not return though its context has ended.
func (r *run) complain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.returned {
		return
	}
	r.complained = true
	r.w.cfg.Log.Warn("a handler ignores its end; its slot stays taken until it returns", "task_id", r.job.ID, "type", r.job.Type,
		"delivery", r.number, "running", time.Since(r.begun).Round(time.Millisecond), "stuck", r.w.count.stuck.Load(), "slots", r.w.cfg.Slots.Size())
}
