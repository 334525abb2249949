package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

func TestDrainLetsHandlersFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 1, map[string]Handler{"t": func(ctx context.Context, _ *Job) Result {
			time.Sleep(20 * time.Second)
			if ctx.Err() != nil {
				return failed("error", "its context ended")
			}
			return Result{Value: []byte("1")}
		}})
		begin := time.Now()
		deliver(t, w, f.task("a", nil))
		if err := w.Drain(); err != nil {
			t.Errorf("Drain = %v", err)
		}
		if took := time.Since(begin); took != 20*time.Second {
			t.Errorf("drained after %s, the handler took 20 s", took)
		}
		if got := f.list("settle"); len(got) != 1 || got[0].out.State != record.Succeeded {
			t.Errorf("told %+v", f.all())
		}
	})
}

func TestDrainGivesBackWhatDoesNotEnd(t *testing.T) {
	for _, c := range []struct {
		name    string
		handler Handler
		after   time.Duration
	}{
		{"ends with its context", untilDone, 25 * time.Second},
		{"returns a value for its context's end", func(ctx context.Context, _ *Job) Result { <-ctx.Done(); return Result{Value: []byte("half")} }, 25 * time.Second},
		{"ignores its context", func(context.Context, *Job) Result { time.Sleep(time.Hour); return Result{Value: []byte("late")} }, 26 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFleet{}
				var cause error
				w := newWorker(t, f, 1, map[string]Handler{"t": func(ctx context.Context, j *Job) Result {
					defer func() { cause = context.Cause(ctx) }()
					return c.handler(ctx, j)
				}})
				begin := time.Now()
				deliver(t, w, f.task("a", options(record.Options{Retries: 3})))
				if err := w.Drain(); err != nil {
					t.Errorf("Drain = %v", err)
				}
				if took := time.Since(begin); took != c.after {
					t.Errorf("drained after %s, want %s", took, c.after)
				}
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				if len(f.all()) != 1 || f.all()[0].what != "giveback" || f.all()[0].delay != 0 || f.all()[0].unknown {
					t.Errorf("told %+v, want one give-back, nothing charged", f.all())
				}
				if !errors.Is(cause, errDraining) {
					t.Errorf("the context ended with %v", cause)
				}
			})
		})
	}
}

func TestAbortGivesBackAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 1, map[string]Handler{"t": func(context.Context, *Job) Result { time.Sleep(time.Hour); return Result{} }})
		begin := time.Now()
		deliver(t, w, f.task("a", nil))
		time.AfterFunc(3*time.Second, w.Abort)
		err := w.Drain()
		if took := time.Since(begin); err == nil || took != 3*time.Second {
			t.Errorf("Drain = %v after %s, want an error after the abort", err, took)
		}
		if len(f.all()) != 1 || f.all()[0].what != "giveback" {
			t.Errorf("told %+v, want one give-back", f.all())
		}
		time.Sleep(time.Hour)
		if len(f.all()) != 1 {
			t.Errorf("told %+v, what comes later does not count", f.all())
		}
	})
}

func TestDrainReturnsWhatHasNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		f.gather(1000, "t")
		w := newWorker(t, f, 1, map[string]Handler{"t": func(_ context.Context, j *Job) Result {
			if j.Index == 100 {
				time.Sleep(10 * time.Second)
			}
			return Result{Value: []byte("1")}
		}})
		begin := time.Now()
		deliver(t, w, ticket)
		time.Sleep(time.Millisecond)
		w.Stop()
		synctest.Wait()
		if got := f.list("return"); len(got) == 0 || got[0].at != begin.Add(time.Millisecond) {
			t.Errorf("returned %+v, want at once", got)
		}
		if got := f.list("pass"); len(got) != 1 {
			t.Errorf("the ticket was passed on %d times, want once", len(got))
		}
		if err := w.Drain(); err != nil {
			t.Error(err)
		}
		if len(f.list("settle"))+len(f.list("return")[0].indexes) != f.cursor {
			t.Errorf("%d ended and %d returned of %d taken", len(f.list("settle")), len(f.list("return")[0].indexes), f.cursor)
		}
	})
}

func TestADeliveryDuringTheDrainGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 1, nil)
		w.Stop()
		d := f.task("a", nil)
		deliver(t, w, d)
		deliver(t, w, ticket)
		if got := f.list("hand back"); len(got) != 2 || got[0].refs[0] != d.Refs[0] || len(f.nonces) != 0 {
			t.Errorf("told %+v, want both handed back, nothing claimed", f.all())
		}
		if w.cfg.Slots.Free() != 1 {
			t.Error("a slot is still taken")
		}
	})
}

func TestDrainWhileRedisIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 1, map[string]Handler{"t": func(context.Context, *Job) Result { return Result{} }})
		f.task("a", nil)
		deliver(t, w, record.Delivery{Refs: []record.Ref{{ID: "a", Number: 1}}})
		synctest.Wait()
		f.silent = 1 << 30
		f.nonces = nil
		go func() {
			if w.cfg.Slots.Gate().Acquire(t.Context()) == nil {
				_ = w.Deliver("q", record.Delivery{Refs: []record.Ref{{ID: "a", Number: 1}}}.Encode()) // when it returns is not looked at
			}
		}()
		synctest.Wait()
		begin := time.Now()
		if err := w.Drain(); err == nil {
			t.Error("Drain = nil, though Redis was told nothing")
		}
		if took := time.Since(begin); took > 25*time.Second+drainMoment+lastWord {
			t.Errorf("took %s", took)
		}
	})
}

func TestDecision21_UnknownType(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{known: true}
		w := newWorker(t, f, 1, nil)
		first := time.Now()
		for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			since := first
			if time.Now().Equal(first) {
				since = time.Time{}
			}
			deliver(t, w, f.task("a", func(c *record.Claim) { c.UnknownSince = since }))
			synctest.Wait()
			x := f.all()[len(f.all())-1]
			if x.what != "giveback" || !x.unknown || x.delay != want*time.Second {
				t.Errorf("told %+v, want a give-back for %d s", x, want)
			}
			time.Sleep(x.delay)
		}
		time.Sleep(10 * time.Minute)
		late := func() string {
			deliver(t, w, f.task("a", func(c *record.Claim) { c.UnknownSince = first }))
			synctest.Wait()
			x := f.all()[len(f.all())-1]
			if x.failure != nil {
				return x.what + " " + x.failure.Kind
			}
			return x.what
		}
		if got := late(); got != "giveback" {
			t.Errorf("%s, while another worker knows the type", got)
		}
		f.known = false
		if got := late(); got != "settle unknown_type" {
			t.Errorf("%s, after 10 min while nobody knows the type", got)
		}
		if w.cfg.Slots.Free() != 1 || w.Stats().Started != 0 {
			t.Error("an unknown type takes no slot")
		}
	})
}

func TestDecision21_NewerEnvelope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 1, map[string]Handler{"t": func(context.Context, *Job) Result { return Result{} }})
		deliver(t, w, f.task("a", func(c *record.Claim) { c.Args = []byte{9, 'x'} }))
		synctest.Wait()
		if len(f.all()) != 1 || f.all()[0].what != "giveback" || !f.all()[0].unknown {
			t.Errorf("told %+v, want a give-back", f.all())
		}
	})
}

func TestMessagesThatAreNoDeliveries(t *testing.T) {
	w := newWorker(t, &fakeFleet{}, 1, nil)
	if err := tryDeliver(t, w, []byte("{")); err != nil {
		t.Errorf("%v, want it dropped", err)
	}
	if err := tryDeliver(t, w, []byte(`{"v":99}`)); err == nil {
		t.Error("a newer version must come again")
	}
	if w.cfg.Slots.Free() != 1 {
		t.Error("a slot is still taken")
	}
}
