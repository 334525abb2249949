package group

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// stage begins a group whose members the test adds.
func (f *fixture) stage(spec Spec, members ...Member) (nonce string) {
	f.Helper()
	spec.Queue, spec.Retention, spec.MaxPending = "default", time.Hour, time.Hour
	st := f.groups.Stage(spec)
	for _, m := range members {
		f.ok(st.Add(f.ctx, m))
	}
	_, err := st.Commit(f.ctx, f.carrier)
	f.ok(err)
	return st.nonce
}

func call(i int) Member {
	return Member{Profile: &Profile{Type: "echo", Queue: "default", Retention: time.Hour, MaxPending: time.Hour}, Args: record.Wrap(fmt.Appendf(nil, "%d", i)), Digest: []byte("d")}
}

// soon asks until it is so: what Redis' clock brings about.
func (f *fixture) soon(what string, is func() bool) {
	f.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(10 * time.Second); !is(); <-tick.C {
		if time.Now().After(end) {
			f.Fatal("it does not come: ", what)
		}
	}
}

func TestLongStretchesWithoutCallsDoNotUseUpTheTicket(t *testing.T) {
	each(t, func(f *fixture) {
		f.create("a")
		f.end("a", record.Succeeded, "1")
		members := make([]Member, 0, 4001)
		for range 4000 {
			members = append(members, Member{Link: "a"})
		}
		nonce := f.stage(Spec{ID: "g"}, append(members, call(1))...)
		tk := record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}
		p := f.pull("w", tk, 1)
		for ; p.Status == NotYet; p = f.pull("w", tk, 1) {
		}
		if p.Status != GotRange || len(p.Range.Members) != 1 || p.Range.Members[0].Index != 4000 {
			f.Fatalf("%+v", p)
		}
		f.settle("w", p.Range, f.outcomes(p.Range, record.Succeeded))
		if h, err := f.groups.Head(f.ctx, "g"); err != nil || !h.Barrier {
			f.Fatalf("%+v %v", h, err)
		}
	})
}

func TestDecision15_ADeadlineEndsMembersFromElsewhereToo(t *testing.T) {
	each(t, func(f *fixture) {
		f.create("a") // nobody runs it
		elsewhere := call(2)
		elsewhere.Queue = "other"
		f.stage(Spec{ID: "g", Deadline: time.Now().Add(200 * time.Millisecond)}, call(1), Member{Link: "a"}, elsewhere)
		f.soon("the barrier", func() bool {
			as, err := f.records.Watch(f.ctx, "", []record.Interest{{ID: "g", View: record.BarrierView}})
			f.ok(err)
			if as[0].Overdue {
				f.ok(f.groups.Sweep(f.ctx, "g"))
			}
			return as[0].Status == record.HasEnded
		})
		outs, err := f.groups.ByIndex(f.ctx, "g", 0, 3)
		f.ok(err)
		for _, o := range outs {
			if o.State != record.TimedOut || o.Failure.Kind != "deadline" {
				f.Fatalf("%+v", o)
			}
		}
	})
}

func TestDecision11_ACancelGoesOnWhereItsCallerDied(t *testing.T) {
	each(t, func(f *fixture) {
		for _, id := range []string{"a", "b"} {
			f.create(id)
		}
		f.gatherLinks("g", "a", "b")
		// the caller dies between the flag and the first member
		why := &record.Failure{Kind: "cancelled", Message: "enough"}
		r := f.groups.run(f.ctx, cancelScript, "g", "g", "o", why.Encode())
		if r.Str() != "accepted" || r.Err != nil {
			f.Fatal(r.Err)
		}
		r = f.groups.run(f.ctx, sweepScript, "g", "g", sweepBatch) // or behind the sweep's answer
		f.ok(r.Err)
		f.soon("somebody is asked to sweep", func() bool {
			d, err := f.records.Due(f.ctx, 0, 100)
			f.ok(err)
			for _, g := range d.Groups {
				if g.Act == record.Sweep {
					f.ok(f.groups.Sweep(f.ctx, g.ID))
				}
			}
			h, err := f.groups.Head(f.ctx, "g")
			f.ok(err)
			return h.Barrier && h.State == record.Cancelled
		})
	})
}

func TestDecision02_MembersOfACancelledGroupEndWhereTheyAreGivenBack(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.gather("g", 2)
		p := f.pull("w", record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}, 2)
		_, err := f.groups.Cancel(f.ctx, "g", true, &record.Failure{Kind: "cancelled", Message: "enough"})
		f.ok(err)
		if s, err := f.groups.ReturnRange(f.ctx, "w", p.Range, []int{0, 1}); err != nil || !s.Applied || s.HandOver != nil {
			f.Fatalf("%+v %v", s, err)
		}
		if h, err := f.groups.Head(f.ctx, "g"); err != nil || !h.Barrier || h.State != record.Cancelled {
			f.Fatalf("%+v %v", h, err)
		}
	})
}

func TestMembersOfTheirOwnStartNotBeforeTheirGroup(t *testing.T) {
	each(t, func(f *fixture) {
		named, elsewhere := call(1), call(2)
		named.ID, elsewhere.Queue = "x", "other"
		f.stage(Spec{ID: "g", Delay: time.Hour}, call(0), named, elsewhere)
		for _, id := range []string{"x", "g:2"} {
			in, err := f.records.Look(f.ctx, id)
			f.ok(err)
			if in.State != record.Scheduled || in.DueAt.Before(in.Now.Add(50*time.Minute)) {
				f.Fatalf("%s: %+v", id, in)
			}
		}
	})
}

func TestDecision07_TheEndOfEachRunIsTold(t *testing.T) {
	each(t, func(f *fixture) {
		f.create("a")
		f.gatherLinks("g1", "a")
		end := func(n int64, state record.State) {
			ref := record.Ref{ID: "a", Number: n}
			cs, err := f.records.Claim(f.ctx, "w", fmt.Sprint(n), ref)
			f.ok(err)
			if cs[0].Status != record.Claimed {
				f.Fatalf("%+v", cs[0])
			}
			o := record.Outcome{State: state, Attempt: 1, Value: record.Wrap([]byte("2"))}
			if state != record.Succeeded {
				o.Value, o.Failure = nil, &record.Failure{Kind: "error", Message: "first run"}
			}
			_, err = f.records.Settle(f.ctx, "w", ref, o)
			f.ok(err)
		}
		end(1, record.Failed) // and its deliverer is slow
		again := record.NewTask{ID: "a", Type: "echo", Queue: "default", Args: record.Wrap([]byte("1")), Digest: []byte("x"), Retention: time.Hour,
			MaxPending: time.Hour, OnConflict: record.Rerun}
		out, err := f.records.Create(context.Background(), again)
		f.ok(err)
		// the second run is linked before any outbox is delivered
		link := f.records.LinkCall("a", false, record.Link{Group: "g2", Index: 0})
		f.ok(f.conn.Do(f.ctx, link))
		end(out[0].Number, record.Succeeded)
		ends, _, err := f.records.Ends(f.ctx, 0, "0", 0)
		f.ok(err)
		if len(ends) != 2 {
			f.Fatalf("%d ends wait to be told, want one of each run", len(ends))
		}
	})
}

// Who gathers again what a producer had committed, and had not bound when it died, knows the members with IDs of their own at once.
func TestDecision44_TheSameGroupAgainIsBound(t *testing.T) {
	each(t, func(f *fixture) {
		own := call(1)
		own.ID = "own"
		stage := func() *Stage {
			st := f.groups.Stage(Spec{ID: "g", Queue: "default", Retention: time.Hour, MaxPending: time.Hour})
			f.ok(st.Add(f.ctx, call(0)))
			f.ok(st.Add(f.ctx, own))
			return st
		}
		dies := stage()
		f.ok(dies.Put(f.ctx, dies.packer.Flush()))
		f.ok(dies.flush(f.ctx))
		f.ok(dies.land(f.ctx))
		var out Committed
		if _, _, err := dies.commit(f.ctx, &out); err != nil || out.Status != record.New {
			f.Fatal(out, err)
		}
		if in, err := f.records.Look(f.ctx, "own"); err != nil || in.State != "" {
			f.Fatalf("bound by the commit alone: %+v, %v", in, err)
		}
		again, err := stage().Commit(f.ctx, f.carrier)
		if err != nil || again.Status != record.Existing {
			f.Fatal(again, err)
		}
		if in, err := f.records.Look(f.ctx, "own"); err != nil || in.State == "" {
			f.Errorf("the second gather is back, and %q is not known: %+v, %v", "own", in, err)
		}
	})
}
