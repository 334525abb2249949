package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// deliverPatience is how long a delivery waits here for a slot where the gate's is on loan; then others may have it.
const deliverPatience = 200 * time.Millisecond

// Deliver takes a message of the carrier's, and the slot that the gate holds for it, whatever it returns. It returns nil once what
// the message names is claimed and runs, is handed back, or is not ours to run: then the carrier acknowledges. With an error the
// message must come again: it is of a newer version, or could neither be claimed nor handed back. Nothing is lost then, and what
// is claimed already is dropped when it comes. The handlers run on after Deliver returned.
func (w *Worker) Deliver(queue string, message []byte) error {
	d, err := record.DecodeDelivery(message)
	slot := w.cfg.Slots.Gate().Claim()
	if _, newer := errors.AsType[*record.VersionError](err); newer { // a newer worker may read it
		w.freeSlots(slot, 1)
		return fmt.Errorf("deliver: %w", err)
	}
	if err != nil {
		w.cfg.Log.Error("a message that is no delivery is dropped", "queue", queue, "err", err)
		w.freeSlots(slot, 1)
		return nil
	}
	if !w.enter() {
		w.freeSlots(slot, 1)
		return w.handBack(queue, d)
	}
	w.arrivals.note(queue)
	if !slot {
		wait, stop := context.WithTimeout(w.pull, deliverPatience)
		err := w.cfg.Slots.Acquire(wait, Claimed)
		stop()
		if err != nil {
			defer w.wg.Done()
			return w.handBack(queue, d)
		}
	}
	if d.Ticket != nil {
		return <-w.startPump(queue, *d.Ticket)
	}
	defer w.wg.Done()
	return w.deliverTasks(queue, d.Refs)
}

// startPump works on a ticket, with the slot and the place in wg that the caller has; it answers once the ticket is claimed, or not.
func (w *Worker) startPump(queue string, t record.Ticket) <-chan error {
	claimed := make(chan error, 1)
	p := &pump{w: w, ticket: t, queue: queue, claimed: claimed}
	w.runs.take(p)
	go func() {
		defer w.wg.Done()
		defer w.runs.drop(p)
		p.run()
	}()
	return claimed
}

// shareWait is how long tasks of a shared delivery wait here for slots that come free; then they go back, for others.
const shareWait = 5 * time.Millisecond

// deliverTasks claims tasks and runs each in a slot of its own, of which one is in hand. Those that there is no slot for go back
// in one delivery. An error says that some are neither claimed nor back.
func (w *Worker) deliverTasks(queue string, refs []record.Ref) (left error) {
	for slots := 1; ; slots = 1 {
		for slots < len(refs) && w.cfg.Slots.TryAcquire() {
			slots++
		}
		left = errors.Join(left, w.claimTasks(queue, refs[:slots]))
		if refs = refs[slots:]; len(refs) == 0 {
			return left
		}
		wait, stop := context.WithTimeout(w.pull, shareWait)
		err := w.cfg.Slots.Acquire(wait, Claimed)
		stop()
		if err != nil {
			// Unclaimed, so their numbers stay current; should both this and the old delivery come, the second claim drops it.
			return errors.Join(left, w.handBack(queue, record.Delivery{Refs: refs}))
		}
	}
}

// claimTasks claims tasks and runs each in a slot that is in hand for it.
func (w *Worker) claimTasks(queue string, refs []record.Ref) (left error) {
	slots := len(refs)
	var claims []record.Claim
	nonce := rand.Text()
	if err := w.tell("claim", refs[0].ID, func(ctx context.Context) (err error) {
		claims, err = w.cfg.Records.Claim(ctx, w.cfg.ID, nonce, refs...)
		return err
	}); err != nil {
		w.cfg.Log.Error("tasks could not be claimed", "queue", queue, "task_id", refs[0].ID, "tasks", len(refs), "err", err)
		left = err
		claims = nil // whatever came with the error
	}
	for _, c := range claims {
		if w.startTask(queue, c) {
			slots--
		}
	}
	w.freeSlots(true, slots)
	return left
}

func (w *Worker) freeSlots(held bool, n int) {
	for range n {
		if held {
			w.cfg.Slots.Release()
		}
	}
}

// handBack enqueues what nobody has claimed again, as it was. It repeats that until Redis answers, also for a moment after the
// worker's life ended, since a message may come while that ends; it is not acknowledged before, nor if this fails.
func (w *Worker) handBack(queue string, d record.Delivery) error {
	ctx, stop := context.WithTimeout(w.base, lastWord)
	defer stop()
	err := w.tellWithin(ctx, "hand back", queue, func(ctx context.Context) error {
		return w.cfg.Carrier.HandBack(ctx, record.HandOver{Queue: queue, Delivery: d})
	})
	if err != nil {
		w.cfg.Log.Error("a delivery could not be handed back", "queue", queue, "err", err)
	}
	return err
}

// startTask runs a claimed task in a slot that it takes over; false if it needs none.
func (w *Worker) startTask(queue string, c record.Claim) bool {
	c.Queue = queue
	if c.Status != record.Claimed {
		if c.Outbox {
			w.cfg.Outbox(c.ID)
		}
		if c.Status != record.Waits { // that one is used up, not lost or late
			w.count.dropped[c.Status].Add(1)
		}
		w.cfg.Log.Debug("delivery dropped", "task_id", c.ID, "queue", queue, "why", c.Status)
		return false
	}
	handler, ok := w.lookup(c.Type, c.Args)
	if !ok {
		w.wg.Go(func() { w.unknown(c) })
		return false
	}
	r := &run{
		w: w, number: c.Number, options: w.options(c.Options), handler: handler, args: c.Args,
		cancelled: c.Cancelled, reason: c.Reason,
		job: Job{
			ID: c.ID, Type: c.Type, Queue: c.Queue, Attempt: c.Attempt, Delivery: c.Number, Crashes: c.Crashes,
			Group: c.Group, Index: c.Index, QueuedAt: c.QueuedAt, Deadline: c.Deadline,
		},
	}
	w.wg.Add(1) // until the record knows how it ended
	w.pool.run(func() {
		defer w.cfg.Slots.Release() // deferred: the handler may call Goexit
		if c.Crashes < record.Suspect || w.suspects.enter(w, r) {
			r.exec(time.Now())
		}
	})
	return true
}

// lookup returns the handler of a type; false if this worker lacks the type, or is older than the envelope of the arguments.
func (w *Worker) lookup(typ string, args []byte) (Handler, bool) {
	h, ok := w.cfg.Handlers[typ]
	return h, ok && record.Knows(args)
}

// finishTask tells the record how a task's run ended.
func (w *Worker) finishTask(v verdict, r *run) {
	w.pool.run(func() {
		defer w.wg.Done()
		defer w.runs.remove(r)
		defer w.suspects.told(r)
		w.count.observe(w.cfg.Redis, func(yield func(*run) bool) { yield(r) })
		ref := record.Ref{ID: r.job.ID, Number: r.number}
		w.finish(ref, v, 1, func(ctx context.Context) (record.Settled, error) {
			switch v.act {
			case actRetry:
				return w.cfg.Records.Retry(ctx, w.cfg.ID, ref, v.failure, v.delay)
			case actGiveBack:
				return w.cfg.Records.GiveBack(ctx, w.cfg.ID, ref, v.delay, false)
			default:
				return w.cfg.Records.Settle(ctx, w.cfg.ID, ref, record.Outcome{
					State: v.state, Value: v.value, Failure: v.failure, Attempt: r.job.Attempt})
			}
		})
	})
}

// finish tells a verdict on n tasks, counts it and follows it up.
func (w *Worker) finish(ref record.Ref, v verdict, n int, call func(ctx context.Context) (record.Settled, error)) {
	if v.act == actDrop {
		w.count.fenced.Add(1)
		return
	}
	s, applied := w.change("settle", ref, n, call)
	if applied {
		switch v.act {
		case actSettle:
			w.count.end(v.state, n)
		case actRetry:
			w.count.retried.Add(uint64(n))
		case actGiveBack:
			w.count.givenBack.Add(uint64(n))
		case actDrop:
		}
	}
	w.follow(ref.ID, s)
}

// change tells the record about n tasks that this worker holds; false if that did not count.
func (w *Worker) change(what string, ref record.Ref, n int, call func(ctx context.Context) (record.Settled, error)) (s record.Settled, applied bool) {
	tries := 0
	err := w.tell(what, ref.ID, func(ctx context.Context) (err error) {
		tries++
		s, err = call(ctx)
		return err
	})
	return s, w.counts(what, ref, n, s, tries, err)
}

// counts reports whether what the record was told of n tasks counts, by the answer to the last of so many tries.
func (w *Worker) counts(what string, ref record.Ref, n int, s record.Settled, tries int, err error) bool {
	switch {
	case err != nil:
		w.untold.Add(int64(n))
		w.cfg.Log.Error("the end of a run could not be told", "op", what, "task_id", ref.ID, "err", err)
		return false
	case s.Applied:
		return true
	case tries > 1:
		return true // the first try had arrived, only its answer was lost; what it left to do, the fleet finds
	}
	w.count.fenced.Add(uint64(n))
	w.cfg.Log.Warn("fenced: it is in other hands or has ended", "op", what, "task_id", ref.ID, "delivery", ref.Number)
	return false
}
