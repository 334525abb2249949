package group

import (
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// unbound commits a group whose producer dies before it binds.
func (f *fixture) unbound(spec Spec, members ...Member) {
	f.Helper()
	spec.ID, spec.Queue, spec.Retention, spec.MaxPending = "g", "default", time.Hour, time.Hour
	st := f.groups.Stage(spec)
	for _, m := range members {
		f.ok(st.Add(f.ctx, m))
	}
	f.ok(st.Put(f.ctx, st.packer.Flush()))
	f.ok(st.flush(f.ctx))
	f.ok(st.land(f.ctx))
	var out Committed
	if _, _, err := st.commit(f.ctx, &out); err != nil || out.Status != record.New {
		f.Fatal(out, err)
	}
}

// swept sweeps what the open work asks for until the group is over.
func (f *fixture) swept() []record.Outcome {
	f.Helper()
	f.soon("the barrier", func() bool {
		d, err := f.records.Due(f.ctx, 0, 100)
		f.ok(err)
		for _, g := range d.Groups {
			if g.Act == record.Sweep {
				f.ok(f.groups.Sweep(f.ctx, g.ID))
			}
		}
		f.ok(f.groups.DeliverOutbox(f.ctx, 0))
		h, err := f.groups.Head(f.ctx, "g")
		f.ok(err)
		return h.Barrier
	})
	h, err := f.groups.Head(f.ctx, "g")
	f.ok(err)
	outs, err := f.groups.ByIndex(f.ctx, "g", 0, h.Members)
	f.ok(err)
	return outs
}

func TestDecision11_ACancelledGroupThatIsBoundDoesNotWaitForItsTime(t *testing.T) {
	each(t, func(f *fixture) {
		own := call(1)
		own.Queue = "other"
		f.unbound(Spec{Delay: time.Hour}, call(0), own)
		// the caller dies behind the flag
		why := &record.Failure{Kind: "cancelled", Message: "enough"}
		if r := f.groups.run(f.ctx, cancelScript, "g", "g", "o", why.Encode()); r.Str() != "accepted" {
			f.Fatal(r.Err)
		}
		f.ok(f.groups.Bind(f.ctx, "g", f.carrier))
		for _, o := range f.swept() {
			if o.State != record.Cancelled {
				f.Fatalf("%+v", o)
			}
		}
	})
}

func TestDecision15_ADeadlineEndsAGroupThatNobodyHasBound(t *testing.T) {
	each(t, func(f *fixture) {
		f.create("a") // nobody runs it
		own := call(1)
		own.Queue = "other"
		f.unbound(Spec{Delay: time.Hour, Deadline: time.Now().Add(200 * time.Millisecond)}, call(0), Member{Link: "a"}, own, Member{Link: "a"})
		// who binds dies in the middle: one place is tied, nothing else
		f.ok(f.conn.All(f.ctx, conn.NewCall(bindScript, f.keys.PrefixOf("g"), "g", 1, "t;a")))
		for _, o := range f.swept() {
			if o.State != record.TimedOut || o.Failure.Kind != "deadline" {
				f.Fatalf("%+v", o)
			}
		}
		f.ok(f.groups.Bind(f.ctx, "g", f.carrier)) // it was only slow
		if n := f.conn.Redis().ZCard(f.ctx, f.keys.Open(0)).Val(); n != 1 {
			f.Fatal("open besides a: ", strings.Join(f.conn.Redis().ZRange(f.ctx, f.keys.Open(0), 0, -1).Val(), " "))
		}
	})
}

func TestDecision11_ACancelEndsAGroupThatNobodyHasBound(t *testing.T) {
	each(t, func(f *fixture) {
		f.create("a")
		f.unbound(Spec{}, call(0), Member{Link: "a"})
		f.ok(f.conn.All(f.ctx, conn.NewCall(bindScript, f.keys.PrefixOf("g"), "g", 1, "t;a")))
		f.ok(f.conn.Do(f.ctx, f.records.LinkCall("a", false, record.Link{Group: "g", Index: 1})))
		if _, err := f.groups.Cancel(f.ctx, "g", true, &record.Failure{Kind: "cancelled"}); err != nil {
			f.Fatal(err)
		}
		for _, o := range f.swept() {
			if o.State != record.Cancelled {
				f.Fatalf("%+v", o)
			}
		}
	})
}

func TestDecision08_WhoAwaitsAnUnboundGroupIsToldThatItIsOverdue(t *testing.T) {
	each(t, func(f *fixture) {
		f.unbound(Spec{Deadline: time.Now().Add(50 * time.Millisecond)}, call(0), Member{Link: "a"})
		f.soon("it is overdue", func() bool {
			h, err := f.groups.Head(f.ctx, "g")
			f.ok(err)
			return h.Overdue
		})
	})
}
