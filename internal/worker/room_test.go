package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Who was let go on by what this worker told begins here, if a slot is free and the queue is not silent; else it goes through its queue.
func TestDecision28_WhoIsLetGoOnBeginsAtOnce(t *testing.T) {
	for _, c := range []struct {
		name   string
		slots  int           // of which one is taken
		silent time.Duration // since the queue's last delivery
		drain  bool
		here   bool
	}{
		{name: "a free slot", slots: 2, here: true},
		{name: "after a moment", slots: 2, silent: holdLast, here: true},
		{name: "no free slot", slots: 1},
		{name: "a silent queue", slots: 2, silent: holdLast + 1},
		{name: "a drain", slots: 2, drain: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFleet{}
				hold := make(chan struct{})
				w := newWorker(t, f, c.slots, map[string]Handler{"t": func(context.Context, *Job) Result {
					<-hold
					return Result{}
				}})
				f.gather(1, "t")
				others := []record.HandOver{
					{Queue: "q", First: true, Delivery: f.task("next", nil)},
					{Queue: "elsewhere", Delivery: f.task("other", nil)},
				}
				deliver(t, w, f.task("first", nil))
				synctest.Wait()
				time.Sleep(c.silent)
				if c.drain {
					w.Stop()
				}
				w.follow("g", record.Settled{Applied: true, Others: others})
				synctest.Wait()
				claimed := len(f.nonces) - 1
				went := f.list("hand over")
				if c.here && (claimed != 1 || len(went) != 1 || went[0].id != "elsewhere") || !c.here && (claimed != 0 || len(went) != 1 || went[0].id != "q") {
					t.Errorf("%d claimed here, handed over %+v", claimed, went)
				}
				close(hold)
				w.wg.Wait()
				if free := w.cfg.Slots.Free(); free != c.slots {
					t.Errorf("%d slots are free, want %d", free, c.slots)
				}
			})
		})
	}
}

// So does a ticket; one that is refused is no loss of this worker's.
func TestDecision28_ATicketIsTakenUpAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 2, map[string]Handler{"t": func(context.Context, *Job) Result { return Result{} }})
		deliver(t, w, f.task("first", nil))
		w.wg.Wait()
		f.gather(5, "t")
		w.follow("g", record.Settled{Applied: true, Others: []record.HandOver{{Queue: "q", Delivery: ticket}}})
		w.wg.Wait()
		if n := len(f.list("settle")); n != 6 || len(f.list("hand over")) != 0 {
			t.Errorf("%d settled, want 6; handed over %+v", n, f.list("hand over"))
		}
		f.refuse(refusing(refusals, "ERR broken"))
		w.follow("g", record.Settled{Applied: true, Others: []record.HandOver{{Queue: "q", Delivery: f.task("next", nil)}}})
		w.wg.Wait()
		if err := w.Drain(); err != nil {
			t.Error(err)
		}
	})
}

// A claim that finds no permit is no lost, late or doubled delivery: nothing is counted as dropped.
func TestDecision28_WhoWaitsIsNotDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 1, nil)
		deliver(t, w, f.task("g:1", func(c *record.Claim) { c.Status = record.Waits }))
		w.wg.Wait()
		for i := range w.count.dropped {
			if n := w.count.dropped[i].Load(); n != 0 {
				t.Errorf("%d dropped at %d", n, i)
			}
		}
		if w.cfg.Slots.Free() != 1 {
			t.Error("its slot is taken")
		}
	})
}
