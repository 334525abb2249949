package worker

import (
	"context"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// flushAfter is how long a success may wait for others of its range to be told together.
const flushAfter = 5 * time.Millisecond

// openRange is a range of a group in this worker's hands, until each of its members has ended, left or gone back.
type openRange struct {
	w *Worker
	r *group.Range

	mu       sync.Mutex
	open     int              // members that nothing is decided about
	ended    []record.Outcome // not told yet, in the order in which they ended
	ids      []*run           // theirs
	telling  bool
	flush    *time.Timer
	overtime bool // what is in ended has waited flushAfter

	stopped *record.Failure         // the end of the group was requested
	asked   map[int]*record.Failure // the ends of members, by index
	fenced  bool
}

// openRange takes a range into the worker's list.
func (w *Worker) openRange(r *group.Range) *openRange {
	o := &openRange{w: w, r: r, open: len(r.Members)}
	w.runs.open(o)
	return o
}

// start returns the run of a member that the worker has a handler for.
func (o *openRange) start(m *group.RangeMember) *run {
	handler, _ := o.w.lookup(m.Type, m.Args)
	o.mu.Lock()
	defer o.mu.Unlock()
	reason := o.stopped
	if reason == nil {
		reason = o.asked[m.Index]
	}
	return &run{
		cancelled: reason != nil, reason: reason, fenced: o.fenced, of: o,
		w: o.w, number: o.r.Number, options: o.w.options(m.Options), handler: handler, args: m.Args, finish: o.finishMember,
		job: Job{
			ID: keys.Member(o.r.Group, m.Index), Type: m.Type, Queue: o.r.Queue, Attempt: 1, Delivery: o.r.Number, Crashes: o.r.Crashes,
			Group: o.r.Group, Index: m.Index, QueuedAt: o.r.QueuedAt, Deadline: o.r.Deadline,
		},
	}
}

// finishMember takes the verdict on a member. Successes may wait a little; all else is told at once.
func (o *openRange) finishMember(v verdict, r *run) {
	switch v.act {
	case actSettle:
		o.end(record.Outcome{
			ID: r.job.ID, Type: r.job.Type, Index: r.job.Index, State: v.state, Value: v.value, Failure: v.failure,
			Attempt: r.job.Attempt, Delivery: r.number, StartedAt: r.started, Started: !r.started.IsZero(), FinishedAt: r.ended,
		}, r)
		return
	case actRetry:
		o.alone(r.job.Index, v, r)
	case actGiveBack:
		o.giveBack([]int{r.job.Index}, r)
	case actDrop:
		o.w.count.fenced.Add(1)
		o.w.runs.remove(r)
		o.w.wg.Done()
	}
	o.decided(1)
}

// decided notes members that no outcome of this range is expected for.
func (o *openRange) decided(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open -= n
	o.tell(false)
}

// end notes an outcome. r is nil for a member that no handler saw; else it is held until the record has answered.
func (o *openRange) end(out record.Outcome, r *run) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open--
	o.ended = append(o.ended, out)
	if r != nil {
		o.ids = append(o.ids, r)
	}
	o.tell(out.Failure != nil)
}

// tell sends what has ended, if it must go now: a failure, the last of the range, or what has waited long enough. One
// call is under way at a time, so that outcomes are recorded in the order of the ends. The caller holds mu.
func (o *openRange) tell(now bool) {
	if len(o.ended) == 0 {
		if o.open == 0 && !o.telling {
			o.w.runs.close(o)
		}
		return
	}
	if now || o.open == 0 {
		o.overtime = true
	}
	if !o.overtime {
		if o.flush == nil {
			o.flush = time.AfterFunc(flushAfter, func() {
				o.mu.Lock()
				defer o.mu.Unlock()
				o.flush, o.overtime = nil, true
				o.tell(false)
			})
		}
		return
	}
	if o.telling {
		return
	}
	if o.flush != nil {
		o.flush.Stop()
		o.flush = nil
	}
	outs, ids := o.ended, o.ids
	o.ended, o.ids, o.telling, o.overtime = nil, nil, true, false
	o.w.wg.Go(func() { // the runs hold wg already, members without a run do not
		o.send(outs)
		o.w.count.observe(ids...)
		for _, r := range ids {
			o.w.runs.remove(r)
			o.w.wg.Done()
		}
		o.mu.Lock()
		defer o.mu.Unlock()
		o.telling = false
		o.tell(false)
	})
}

// send settles outcomes and repeats that until it is answered.
func (o *openRange) send(outs []record.Outcome) {
	w := o.w
	s, applied := w.change("settle range", record.Ref{ID: o.r.Group, Number: o.r.Number}, len(outs), func(ctx context.Context) (record.Settled, error) {
		return w.cfg.Groups.SettleRange(ctx, w.cfg.ID, o.r, outs)
	})
	if applied {
		for i := 0; i < len(outs); { // mostly all have succeeded
			state, from := outs[i].State, i
			for ; i < len(outs) && outs[i].State == state; i++ {
			}
			w.count.end(state, i-from)
		}
	}
	w.follow(o.r.Group, s)
}

// alone takes a member out of the range: it comes again by itself after the delay, charged with the failure if there is one.
// r is nil if no handler saw it.
func (o *openRange) alone(index int, v verdict, r *run) {
	o.aside(v, 1, r, func(ctx context.Context) (record.Settled, error) {
		return o.w.cfg.Groups.Leave(ctx, o.w.cfg.ID, o.r, index, v.failure, v.delay)
	})
}

// apart takes a member out of the range that may have killed its workers: it comes again at once, by itself.
func (o *openRange) apart(index int) {
	o.aside(verdict{act: actGiveBack}, 1, nil, func(ctx context.Context) (record.Settled, error) {
		return o.w.cfg.Groups.Apart(ctx, o.w.cfg.ID, o.r, index)
	})
}

// giveBack returns members, nothing charged. r is nil for those that no handler saw.
func (o *openRange) giveBack(indexes []int, r *run) {
	o.aside(verdict{act: actGiveBack}, len(indexes), r, func(ctx context.Context) (record.Settled, error) {
		return o.w.cfg.Groups.ReturnRange(ctx, o.w.cfg.ID, o.r, indexes)
	})
}

func (o *openRange) aside(v verdict, n int, r *run, call func(ctx context.Context) (record.Settled, error)) {
	w := o.w
	if r == nil {
		w.wg.Add(1) // else the run holds it
	}
	go func() {
		defer w.wg.Done()
		if r != nil {
			defer w.runs.remove(r)
			w.count.observe(r)
		}
		w.finish(record.Ref{ID: o.r.Group, Number: o.r.Number}, v, n, call)
	}()
}

// stop passes on that the whole range is to end, members that have not started included. Reason nil: it is in other hands. It is
// false where that was known.
func (o *openRange) stop(reason *record.Failure) (first bool) {
	o.mu.Lock()
	first = o.stopped == nil && !o.fenced
	o.fenced = o.fenced || reason == nil
	if o.stopped == nil {
		o.stopped = reason
	}
	o.mu.Unlock()
	for _, r := range o.w.runs.list(false) {
		switch {
		case r.of != o:
		case reason == nil:
			r.fence()
		default:
			r.requestCancel(reason)
		}
	}
	return first
}

// stopMember passes on that one member is to end; false where that was known.
func (o *openRange) stopMember(index int, reason *record.Failure) (first bool) {
	o.mu.Lock()
	if o.asked == nil {
		o.asked = make(map[int]*record.Failure)
	}
	first = o.asked[index] == nil
	o.asked[index] = reason
	o.mu.Unlock()
	for _, r := range o.w.runs.list(false) {
		if r.of == o && r.job.Index == index {
			r.requestCancel(reason)
		}
	}
	return first
}
