package worker

import (
	"context"
	"fmt"
	"math"
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
	args    []byte // in their envelope

	ctx   runContext
	begun time.Time // on the local clock, zero before; of a member guarded by of.mu
	ended time.Time // on the local clock; set by the judgement

	mu        sync.Mutex
	timeout   *time.Timer
	deadline  *time.Timer
	grace     *time.Timer
	judged    bool
	cancelled bool // a cancel was requested
	reason    *record.Failure
	timedOut  bool
	overdue   bool // past the deadline
	draining  bool
	fenced    bool

	started    bool // its handler was called
	returned   bool // it has returned
	complained bool // the log has said that it is stuck
	suspect    bool // it has had the suspects' turn since before it began
	passed     bool // and has passed it on
}

// exec runs the handler in this goroutine, from now on the local clock, and comes back with the time when the handler returned. Where
// that calls runtime.Goexit it does not come back, its deferred functions and those of its callers run.
func (r *run) exec(now time.Time) (ended time.Time) {
	if !r.begin(now) {
		return now
	}
	normal := false
	defer func() {
		if normal {
			return
		}
		f := &record.Failure{Kind: kindGoexit, Message: "the handler called runtime.Goexit"}
		if v := recover(); v != nil {
			f = Panicked(v)
		}
		ended = r.end(Result{Failure: f})
	}()
	res := r.call()
	normal = true
	return r.end(res)
}

// call runs the handler with its arguments out of their envelope. Large ones are in memory twice only while it runs.
func (r *run) call() Result {
	var err error
	if r.job.Args, err = record.Unwrap(r.args); err != nil {
		return Result{Permanent: true, Failure: &record.Failure{Kind: kindBadArgs, Message: "the arguments cannot be read: " + err.Error()}}
	}
	return r.handler(&r.ctx, &r.job)
}

// begin enters the run into the worker's list; false if the run is over before it began.
func (r *run) begin(now time.Time) bool {
	r.ctx.begin(r.w.base)
	left := r.left(now)
	r.mu.Lock()
	closing := r.enter(now)
	v := verdict{act: actGiveBack}
	switch {
	case r.fenced:
		v = verdict{act: actDrop}
	case closing: // the drain is at its end
	case r.cancelled:
		v = verdict{state: record.Cancelled, failure: r.cancelFailure()}
	case left <= 0:
		v = verdict{state: record.TimedOut, failure: &record.Failure{Kind: kindDeadline, Message: "its deadline passed before it started"}}
	default:
		if r.of == nil || min(r.options.Timeout(), left) < 2*tickEvery {
			r.arm(now)
		}
		r.started = true
		r.mu.Unlock()
		r.w.count.started.Add(1)
		r.w.count.running.Add(1)
		return true
	}
	r.close(now)
	r.mu.Unlock()
	r.ctx.end(context.Canceled)
	r.finish(v)
	return false
}

// enter puts the run into the list; true means that it must not begin. The caller holds mu, and gets no other run's mu meanwhile.
func (r *run) enter(now time.Time) (closing bool) {
	if r.of != nil {
		return r.of.enter(r, now)
	}
	r.begun = now
	return r.w.runs.add(r)
}

// left returns how long it is to the deadline.
func (r *run) left(now time.Time) time.Duration {
	if r.job.Deadline.IsZero() {
		return math.MaxInt64
	}
	return r.job.Deadline.Sub(r.w.cfg.Redis(now))
}

// arm starts the timers, unless that is done or too late. The caller holds mu.
func (r *run) arm(now time.Time) {
	if r.judged || r.timeout != nil {
		return
	}
	if !r.job.Deadline.IsZero() {
		r.deadline = time.AfterFunc(r.left(now), r.onDeadline)
	}
	r.timeout = time.AfterFunc(r.options.Timeout()-now.Sub(r.begun), r.onTimeout)
}

// end takes what the handler returned, and returns when.
func (r *run) end(res Result) time.Time {
	now := time.Now()
	r.w.count.running.Add(-1)
	r.mu.Lock()
	r.w.suspects.returned(r)
	late, complained := r.judged, r.complained
	var v verdict
	if !late {
		v = r.judge(res)
		r.close(now)
	}
	r.mu.Unlock()
	r.w.sizes.observe(r.job.Type, now.Sub(r.begun))
	r.ctx.end(context.Canceled)
	if late {
		r.w.count.stuck.Add(-1)
		if complained {
			r.w.cfg.Log.Warn("a stuck handler has returned; its slot is free", "task_id", r.job.ID, "type", r.job.Type, "delivery", r.number,
				"after", now.Sub(r.begun).Round(time.Millisecond))
		}
	} else {
		r.finish(v)
	}
	return now
}

// finish tells the record. It does not block.
func (r *run) finish(v verdict) {
	if r.of != nil {
		r.of.finish(v, r)
	} else {
		r.w.finishTask(v, r)
	}
}

// close notes the judgement. The caller holds mu.
func (r *run) close(now time.Time) {
	r.judged, r.ended = true, now
	for _, t := range [...]*time.Timer{r.timeout, r.deadline, r.grace} {
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
		delay = max(min(delay, r.left(time.Now())), time.Millisecond) // backoff ends at the deadline
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
		r.ctx.end(cause)
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

// abandon judges a run whose handler has not returned. Its slot stays taken until it does, a suspect's turn only until the record knows; where it has not
// returned after patience, the log says it (negative: never).
func (r *run) abandon(patience time.Duration, judge func() verdict) {
	r.mu.Lock()
	if r.judged {
		r.mu.Unlock()
		return
	}
	v := judge()
	r.close(time.Now())
	r.w.count.stuck.Add(1)
	r.mu.Unlock()
	r.ctx.end(context.Canceled)
	if patience >= 0 {
		time.AfterFunc(patience, r.complain)
	}
	r.finish(v)
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
