package worker

import (
	"context"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/record"
)

// tickEvery is how long a success may wait for others of its range to be told together, and how long a member runs before its timers do.
const tickEvery = 5 * time.Millisecond

// openRange is a range of a group in this worker's hands, until each of its members has ended, left or gone back. It holds a drain up
// that long.
type openRange struct {
	w    *Worker
	r    *group.Range
	hand *hand // of its group here

	mu       sync.Mutex
	opened   time.Time   // by Redis' clock
	runs     []run       // of members that a handler is for
	open     int         // members that nothing is decided about
	ran      int         // members that have begun and whose end the record has not answered for
	ends     *group.Ends // not told yet, in the order in which they ended; nil: none
	endsRan  int         // of these: have begun
	telling  bool
	ticker   *time.Timer
	ticking  bool
	overtime bool // what is in ends must go now: it has waited tickEvery, or holds a failure
	offered  bool // to the pump, with the last end

	stopped *record.Failure         // the end of the group was requested
	asked   map[int]*record.Failure // the ends of members, by index
	fenced  bool
}

// openRange takes a range into the worker's list. The caller holds up a drain.
func (p *pump) openRange(r *group.Range) *openRange {
	w := p.w
	o := &openRange{w: w, r: r, hand: p.hand, opened: w.cfg.Redis(time.Now()), open: len(r.Members), runs: make([]run, 0, len(r.Members))}
	w.wg.Add(1)
	w.runs.open(o)
	return o
}

// add returns the run of a member that the worker has a handler for. All are added before the first begins.
func (o *openRange) add(m *group.RangeMember, id string, h Handler, options record.Options) *run {
	o.mu.Lock() // the range is in the worker's list already, and its end may be requested
	defer o.mu.Unlock()
	o.runs = append(o.runs, run{
		of: o, w: o.w, number: o.r.Number, options: options, handler: h, args: m.Args,
		job: Job{
			ID: id, Type: m.Type, Queue: o.r.Queue, Attempt: 1, Delivery: o.r.Number, Crashes: o.r.Crashes,
			Group: o.r.Group, Index: m.Index, QueuedAt: o.r.QueuedAt, Deadline: o.r.Deadline,
		},
	})
	return &o.runs[len(o.runs)-1]
}

// enter notes that a member begins; true means that it must not, since the drain is at its end. The caller holds r.mu.
func (o *openRange) enter(r *run, now time.Time) (closing bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r.reason = o.stopped; r.reason == nil {
		r.reason = o.asked[r.job.Index]
	}
	r.cancelled, r.fenced, r.begun = r.reason != nil, o.fenced, now
	o.ran++
	o.keepTicking()
	return o.w.runs.draining.Load()
}

// running appends the members that have begun, ended ones among them.
func (o *openRange) running(to []*run) []*run {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.runs {
		if r := &o.runs[i]; !r.begun.IsZero() {
			to = append(to, r)
		}
	}
	return to
}

func (o *openRange) unanswered() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.ran
}

// keepTicking lets tick run within tickEvery. The caller holds mu.
func (o *openRange) keepTicking() {
	switch {
	case o.ticking:
		return
	case o.ticker == nil:
		o.ticker = time.AfterFunc(tickEvery, o.tick)
	default:
		o.ticker.Reset(tickEvery)
	}
	o.ticking = true
}

// tick tells what has ended and starts the timers of what runs. Most ranges are over before the first.
func (o *openRange) tick() {
	o.mu.Lock()
	o.ticking = false
	if o.ends != nil {
		o.overtime = true
		o.tell(false)
	}
	o.mu.Unlock()
	now := time.Now()
	for _, r := range o.running(nil) {
		r.mu.Lock()
		r.arm(now)
		r.mu.Unlock()
	}
}

// finish takes the verdict on a member. Successes may wait a little; all else is told at once.
func (o *openRange) finish(v verdict, r *run) {
	switch v.act {
	case actSettle:
		redis := o.w.cfg.Redis
		o.end(&record.Outcome{
			Index: r.job.Index, State: v.state, Value: v.value, Failure: v.failure, Attempt: 1,
			StartedAt: redis(r.begun), FinishedAt: redis(r.ended),
		}, 1)
		return
	case actRetry:
		o.alone(r.job.Index, v, r)
	case actGiveBack:
		o.giveBack([]int{r.job.Index}, r)
	case actDrop:
		o.w.count.fenced.Add(1)
		o.answered(1)
	}
	o.decided(1)
}

// answered notes that the record has answered for members that have begun.
func (o *openRange) answered(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ran -= n
}

// decided notes members that no outcome of this range is expected for.
func (o *openRange) decided(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open -= n
	o.tell(false)
}

// end notes an outcome of a member; ran is 0 for one that no handler saw.
func (o *openRange) end(out *record.Outcome, ran int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ends == nil {
		o.ends = o.r.NewEnds(o.w.cfg.ID, o.opened, nil)
	}
	o.open--
	o.ends.Add(out)
	o.endsRan += ran
	o.tell(out.Failure != nil)
}

// tell sends what has ended, if it must go now: a failure, the last of the range where its pump does not take that along, or what has
// waited long enough. One call is under way at a time, so that outcomes are recorded in the order of the ends. The caller holds mu.
func (o *openRange) tell(now bool) {
	if o.ends == nil {
		if o.open == 0 && !o.telling {
			o.close()
		}
		return
	}
	o.overtime = o.overtime || now
	if o.open == 0 && !o.overtime && !o.offered {
		o.offered = true
		o.overtime = o.telling || !o.hand.offer(o)
	}
	if !o.overtime {
		o.keepTicking()
		return
	}
	t, ok := o.take()
	if !ok {
		return
	}
	go func() {
		w := o.w
		s, applied := w.change("settle range", o.ref(), t.ends.Len(), func(ctx context.Context) (record.Settled, error) {
			return w.cfg.Groups.Settle(ctx, t.ends)
		})
		o.told(t, s, applied)
	}()
}

// ref names the range's deliveries in logs.
func (o *openRange) ref() record.Ref { return record.Ref{ID: o.r.Group, Number: o.r.Number} }

// take returns what is to be told, false if there is nothing or a call is under way. The caller holds mu, and calls told in the end.
func (o *openRange) take() (t ended, ok bool) {
	if o.ends == nil || o.telling {
		return t, false
	}
	t = ended{o.ends, o.endsRan}
	o.ends, o.endsRan, o.telling, o.overtime = nil, 0, true, false
	return t, true
}

// told notes that the record has answered.
func (o *openRange) told(t ended, s record.Settled, applied bool) {
	if applied {
		t.ends.Each(o.w.count.end)
	}
	o.w.follow(o.r.Group, s)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ran -= t.ran
	o.telling = false
	o.tell(false)
}

// tellNow does not wait for the pump any more.
func (o *openRange) tellNow() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ends != nil { // else the tick was faster
		o.tell(true)
	}
}

// close takes the range from the worker's list. The caller holds mu.
func (o *openRange) close() {
	if o.ticker != nil {
		o.ticker.Stop()
	}
	o.w.count.observe(o.w.cfg.Redis, func(yield func(*run) bool) {
		for i := range o.runs {
			if !yield(&o.runs[i]) {
				return
			}
		}
	})
	o.w.runs.close(o)
	o.w.wg.Done()
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

// aside tells what is no outcome of the range. The caller has not noted these members as decided yet.
func (o *openRange) aside(v verdict, n int, r *run, call func(ctx context.Context) (record.Settled, error)) {
	w := o.w
	w.wg.Add(1)
	if r != nil { // the range may be over before the answer is there
		w.runs.add(r)
		o.answered(1)
	}
	go func() {
		defer w.wg.Done()
		if r != nil {
			defer w.runs.remove(r)
		}
		w.finish(o.ref(), v, n, call)
	}()
}

// mark notes that the whole range is to end, for the members that have not started. Reason nil: it is in other hands. It is false where
// that was known.
func (o *openRange) mark(reason *record.Failure) (first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	first = o.stopped == nil && !o.fenced
	o.fenced = o.fenced || reason == nil
	if o.stopped == nil {
		o.stopped = reason
	}
	return first
}

// stop is mark, and ends those that run.
func (o *openRange) stop(reason *record.Failure) (first bool) {
	first = o.mark(reason)
	for _, r := range o.running(nil) {
		if reason == nil {
			r.fence()
		} else {
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
	for _, r := range o.running(nil) {
		if r.job.Index == index {
			r.requestCancel(reason)
		}
	}
	return first
}
