package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

func TestDecision04_AcknowledgedAtTheClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{silent: 2}
		w := newWorker(t, f, 1, map[string]Handler{"t": func(context.Context, *Job) Result {
			time.Sleep(time.Hour)
			return Result{}
		}})
		begin := time.Now()
		deliver(t, w, f.task("a", options(record.Options{TimeoutMS: (2 * time.Hour).Milliseconds()})))
		if took := time.Since(begin); took > time.Second {
			t.Errorf("Deliver returned after %s, with the handler", took)
		}
		if len(f.nonces) != 3 || f.nonces[0] != f.nonces[1] || f.nonces[1] != f.nonces[2] {
			t.Errorf("a claim in doubt must be repeated with its nonce, got %q", f.nonces)
		}
		time.Sleep(time.Hour + time.Second)
		if got := f.list("settle"); len(got) != 1 {
			t.Errorf("told %+v", f.all())
		}
		f.task("b", nil)
		deliver(t, w, record.Delivery{Refs: []record.Ref{{ID: "b", Number: 1}}})
		if last := f.nonces[len(f.nonces)-1]; last == f.nonces[0] {
			t.Error("another dequeue must have another nonce")
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestUnknownReferencesAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 3, map[string]Handler{"t": func(context.Context, *Job) Result { return Result{} }})
		f.task("b", nil)
		deliver(t, w, record.Delivery{Refs: []record.Ref{{ID: "a", Number: 1}, {ID: "b", Number: 1}}})
		synctest.Wait()
		if len(f.all()) != 1 || f.all()[0].id != "b" {
			t.Errorf("told %+v, want the end of b alone", f.all())
		}
		if got := w.cfg.Slots.Free(); got != 3 {
			t.Errorf("%d slots free, want 3", got)
		}
	})
}

func TestDecision38_WhatHasNoSlotGoesBackInOneDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 2, map[string]Handler{"t": func(context.Context, *Job) Result { time.Sleep(time.Second); return Result{} }})
		var d record.Delivery
		for i := range 5 {
			d.Refs = append(d.Refs, f.task(fmt.Sprint(i), nil).Refs...)
		}
		deliver(t, w, d)
		back := f.list("hand back")
		if len(back) != 1 || len(back[0].refs) != 3 || back[0].refs[0] != d.Refs[2] {
			t.Fatalf("handed back %+v, want the last three in one delivery", back)
		}
		time.Sleep(2 * time.Second)
		if got := f.list("settle"); len(got) != 2 {
			t.Errorf("%d ended, want 2", len(got))
		}
	})
}

func TestDecision02_FencedRunsDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{flags: []record.Flag{{Ref: record.Ref{ID: "a", Number: 7}, Fenced: true}}}
		var cause error
		w := newWorker(t, f, 1, map[string]Handler{"t": func(ctx context.Context, _ *Job) Result {
			<-ctx.Done()
			cause = context.Cause(ctx)
			return Result{Value: []byte("1")}
		}})
		deliver(t, w, f.task("a", nil))
		synctest.Wait()
		if err := w.Ask(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(f.all()) != 0 || !errors.Is(cause, errFenced) || w.Stats().Fenced != 1 {
			t.Errorf("told %+v, cause %v, %d fenced; want nothing told", f.all(), cause, w.Stats().Fenced)
		}
		f.fenced = true
		deliver(t, w, f.task("b", nil))
		synctest.Wait()
		w.Notice(record.Notice{Kind: 'c', ID: "b", Number: 7})
		synctest.Wait()
		if got := w.Stats(); got.Fenced != 2 || got.Ended[record.Succeeded]+got.Ended[record.Cancelled] != 0 {
			t.Errorf("%+v, want the refused settle counted as fenced alone", got)
		}
	})
}

func TestSettleSurvivesSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 1, map[string]Handler{"t": func(context.Context, *Job) Result {
			f.mu.Lock()
			f.silent = 20
			f.fenced = true // what was done before its answer was lost is not done again
			f.mu.Unlock()
			return Result{Value: []byte("1")}
		}})
		deliver(t, w, f.task("a", nil))
		time.Sleep(5 * time.Minute)
		if got := f.list("settle"); len(got) != 21 {
			t.Errorf("told %d times, want until it is answered: 21", len(got))
		}
		if s := w.Stats(); s.Ended[record.Succeeded] != 1 || s.Fenced != 0 {
			t.Errorf("%+v, want one success: the first try had arrived", s)
		}
	})
}
