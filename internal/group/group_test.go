package group

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

type fixture struct {
	*testing.T
	conn    *conn.Conn
	keys    keys.Space
	records *record.Store
	groups  *Store
	carrier *carrier.Carrier
	ctx     context.Context
}

// each runs a test on the embedded Redis and on a real one.
func each(t *testing.T, test func(f *fixture)) {
	t.Helper()
	for name, start := range map[string]func(testing.TB) *redistest.Server{
		"embedded":     redistest.Embedded,
		"redis-server": func(t testing.TB) *redistest.Server { return redistest.Local(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			c := conn.New(s.PatientClient(t), slog.New(slog.DiscardHandler))
			k := keys.New("ns"+uuid.NewString()[:8], 1)
			records := record.NewStore(c, k)
			f := &fixture{T: t, conn: c, keys: k, records: records, groups: NewStore(records), carrier: carrier.New(c, k, func(string) carrier.Crew { return carrier.Crew{} }), ctx: t.Context()}
			test(f)
		})
	}
}

func (f *fixture) ok(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) gather(id string, n int) (nonce string) {
	f.Helper()
	st := f.groups.Stage(Spec{ID: id, Queue: "default", Retention: time.Hour, MaxPending: time.Hour})
	for i := range n {
		f.ok(st.Add(f.ctx, Member{Profile: &Profile{Type: "echo", Queue: "default", Retention: time.Hour}, Args: record.Wrap(fmt.Appendf(nil, "%d", i)), Digest: []byte("d")}))
	}
	out, err := st.Commit(f.ctx, f.carrier)
	f.ok(err)
	if out.Status != record.New || out.Members != n {
		f.Fatalf("commit: %+v", out)
	}
	return st.nonce
}

func (f *fixture) pull(worker string, t record.Ticket, want int) Pull {
	f.Helper()
	p, _, err := f.groups.Next(f.ctx, worker, t, uuid.NewString(), want, 0, nil)
	f.ok(err)
	return p
}

func (f *fixture) outcomes(r *Range, state record.State) (outs []record.Outcome) {
	now := time.Now()
	for _, m := range r.Members {
		o := record.Outcome{Index: m.Index, State: state, Attempt: 1, Started: true, StartedAt: now, FinishedAt: now.Add(time.Millisecond)}
		if state == record.Succeeded {
			o.Value = m.Args
		} else {
			o.Failure = &record.Failure{Kind: "error", Message: fmt.Sprint("boom ", m.Index)}
		}
		outs = append(outs, o)
	}
	return outs
}

func (f *fixture) settle(worker string, r *Range, outs []record.Outcome) record.Settled {
	f.Helper()
	s, err := settleRange(f.ctx, f.groups, worker, r, outs)
	f.ok(err)
	return s
}

func TestRangesToTheBarrier(t *testing.T) {
	each(t, func(f *fixture) {
		const n = 200
		nonce := f.gather("g", n)
		tk := record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}
		seen := map[int]bool{}
		for {
			p := f.pull("w1", tk, 7)
			if p.Status == Empty || p.Status == Stale {
				break
			}
			if p.Status != GotRange {
				f.Fatalf("pull: %v", p.Status)
			}
			for _, m := range p.Range.Members {
				if seen[m.Index] {
					f.Fatalf("member %d twice", m.Index)
				}
				seen[m.Index] = true
			}
			if s := f.settle("w1", p.Range, f.outcomes(p.Range, record.Succeeded)); !s.Applied {
				f.Fatal("not applied")
			}
		}
		if len(seen) != n {
			f.Fatalf("%d members seen", len(seen))
		}
		outs, err := f.groups.ByIndex(f.ctx, "g", 0, n+5)
		f.ok(err)
		if len(outs) != n {
			f.Fatalf("%d outcomes", len(outs))
		}
		for i, o := range outs {
			if o.Index != i || o.State != record.Succeeded || string(o.Value[1:]) != fmt.Sprint(i) {
				f.Fatalf("member %d: %+v", i, o)
			}
		}
		as, err := f.records.Watch(f.ctx, "", []record.Interest{{ID: "g", View: record.BarrierView}, {ID: "g:5", View: record.Whole}, {ID: "g:200", View: record.Whole}, {ID: "nobody", View: record.OutcomeView}})
		f.ok(err)
		if as[0].Status != record.HasEnded || !as[0].Barrier || as[0].GroupState != record.Succeeded || as[1].Status != record.HasEnded ||
			string(as[1].Outcome.Value[1:]) != "5" || as[2].Status != record.IsUnknown || as[3].Status != record.IsUnknown {
			f.Fatalf("watch: %+v", as)
		}
		order := 0
		for after := 0; ; {
			page, last, err := f.groups.Page(f.ctx, "g", after, 10)
			f.ok(err)
			if last == after {
				break
			}
			for _, o := range page {
				if order++; o.Order != order {
					f.Fatalf("order %d, want %d", o.Order, order)
				}
			}
			after = last
		}
		if order != n {
			f.Fatalf("%d in recording order", order)
		}
	})
}

func TestDecision02_AStaleRangeWritesNothing(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.gather("g", 4)
		p := f.pull("w1", record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}, 4)
		r := *p.Range
		r.Number++
		if s := f.settle("w1", &r, f.outcomes(&r, record.Succeeded)); s.Applied {
			f.Fatal("a number that is not current was accepted")
		}
		if s := f.settle("w2", p.Range, f.outcomes(p.Range, record.Succeeded)); s.Applied {
			f.Fatal("another worker was accepted")
		}
		if s := f.settle("w1", p.Range, f.outcomes(p.Range, record.Succeeded)); !s.Applied {
			f.Fatal("the holder was refused")
		}
		if s := f.settle("w1", p.Range, f.outcomes(p.Range, record.Succeeded)); s.Applied {
			f.Fatal("written twice")
		}
	})
}

func TestDecision03_APullThatLostItsAnswerGetsTheSameRange(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.gather("g", 10)
		tk := record.Ticket{Group: "g", Nonce: nonce, Place: 1, Number: 2}
		a, _, err := f.groups.Next(f.ctx, "w1", tk, "n1", 3, 0, nil)
		f.ok(err)
		b, _, err := f.groups.Next(f.ctx, "w1", tk, "n1", 3, 0, nil)
		f.ok(err)
		if a.Range == nil || b.Range == nil || a.Range.ID != b.Range.ID || a.Range.From != b.Range.From || len(b.Range.Members) != 3 {
			f.Fatalf("%+v, then %+v", a.Range, b.Range)
		}
	})
}

func TestDecision06_FirstFailureInRecordingOrder(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.gather("g", 3)
		var rs []*Range
		for range 3 {
			rs = append(rs, f.pull("w1", record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}, 1).Range)
		}
		f.settle("w1", rs[2], f.outcomes(rs[2], record.Failed))
		h, err := f.groups.Head(f.ctx, "g")
		f.ok(err)
		if h.State != record.Failed || h.FirstIndex != 2 || h.Barrier || h.Failure.Message != "boom 2" {
			f.Fatalf("%+v", h)
		}
		f.settle("w1", rs[0], f.outcomes(rs[0], record.Failed))
		f.settle("w1", rs[1], f.outcomes(rs[1], record.Succeeded))
		h, err = f.groups.Head(f.ctx, "g")
		f.ok(err)
		if h.FirstIndex != 2 || !h.Barrier || h.Done != 3 {
			f.Fatalf("%+v", h)
		}
	})
}

func TestReturnedMembersComeFirst(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.gather("g", 20)
		tk := record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}
		p := f.pull("w1", tk, 8)
		s, err := f.groups.ReturnRange(f.ctx, "w1", p.Range, []int{2, 3, 7})
		f.ok(err)
		if !s.Applied || s.HandOver != nil {
			f.Fatalf("%+v", s)
		}
		q := f.pull("w1", tk, 8)
		if q.Range.From != 2 || q.Range.To != 4 || q.Range.Number != p.Range.Number+1 {
			f.Fatalf("%+v", q.Range)
		}
		q = f.pull("w1", tk, 8)
		if q.Range.From != 7 || len(q.Range.Members) != 1 {
			f.Fatalf("%+v", q.Range)
		}
		if q = f.pull("w1", tk, 8); q.Range.From != 8 {
			f.Fatalf("%+v", q.Range)
		}
		ps, err := f.groups.PassTicket(f.ctx, "w1", tk)
		f.ok(err)
		if ps.HandOver == nil || ps.HandOver.Delivery.Ticket.Number <= tk.Number {
			f.Fatalf("%+v", ps)
		}
		if st := f.pull("w1", tk, 1); st.Status != Stale {
			f.Fatal("the passed ticket still works")
		}
	})
}

func TestAMemberTravelsAloneAndComesBack(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.gather("g", 2)
		p := f.pull("w1", record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}, 2)
		boom := &record.Failure{Kind: "error", Message: "again"}
		s, err := f.groups.Leave(f.ctx, "w1", p.Range, 1, boom, time.Millisecond)
		f.ok(err)
		if !s.Applied {
			f.Fatal("not applied")
		}
		f.settle("w1", p.Range, f.outcomes(&Range{Members: p.Range.Members[:1]}, record.Succeeded))
		var ref record.Ref
		for ref.ID == "" {
			d, err := f.records.Due(f.ctx, 0, 100)
			f.ok(err)
			for _, h := range d.HandOvers {
				if len(h.Delivery.Refs) > 0 {
					ref = h.Delivery.Refs[0]
				}
			}
		}
		if ref.ID != "g:1" || ref.Number <= p.Range.Number {
			f.Fatalf("%+v", ref)
		}
		cs, err := f.records.Claim(f.ctx, "w2", "n", ref)
		f.ok(err)
		if c := cs[0]; c.Status != record.Claimed || c.Attempt != 2 || c.Group != "g" || c.Index != 1 || string(c.Args[1:]) != "1" {
			f.Fatalf("%+v", c)
		}
		st, err := f.records.Settle(f.ctx, "w2", ref, record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte("7")), Attempt: 2})
		f.ok(err)
		if !st.Applied {
			f.Fatal("not applied")
		}
		outs, err := f.groups.ByIndex(f.ctx, "g", 0, 2)
		f.ok(err)
		if outs[1].Attempt != 2 || string(outs[1].Value[1:]) != "7" || outs[1].Order != 2 {
			f.Fatalf("%+v", outs[1])
		}
		if in, _ := f.records.Look(f.ctx, "g"); in.State != record.Succeeded || in.Counts[record.Succeeded] != 2 {
			f.Fatalf("%+v", in)
		}
	})
}

func (f *fixture) create(id string) {
	f.Helper()
	_, err := f.records.Create(f.ctx, record.NewTask{ID: id, Type: "echo", Queue: "default", Args: record.Wrap([]byte("1")), Digest: []byte("x"), Retention: time.Hour, MaxPending: time.Hour})
	f.ok(err)
}

func (f *fixture) end(id string, state record.State, value string) {
	f.Helper()
	cs, err := f.records.Claim(f.ctx, "w", "n"+id, record.Ref{ID: id, Number: 1})
	f.ok(err)
	if cs[0].Status != record.Claimed {
		f.Fatalf("%s: %+v", id, cs[0])
	}
	o := record.Outcome{State: state, Attempt: 1}
	if state == record.Succeeded {
		o.Value = record.Wrap([]byte(value))
	} else {
		o.Failure = &record.Failure{Kind: "error", Message: value}
	}
	s, err := f.records.Settle(f.ctx, "w", cs[0].Ref, o)
	f.ok(err)
	if s.Outbox {
		f.ok(f.groups.DeliverOutbox(f.ctx, 0))
	}
}

func (f *fixture) gatherLinks(id string, links ...string) {
	f.Helper()
	st := f.groups.Stage(Spec{ID: id, Queue: "default", Retention: time.Hour, MaxPending: time.Hour})
	for _, l := range links {
		f.ok(st.Add(f.ctx, Member{Link: l}))
	}
	_, err := st.Commit(f.ctx, f.carrier)
	f.ok(err)
}

func TestMembersFromElsewhere(t *testing.T) {
	each(t, func(f *fixture) {
		for _, id := range []string{"a", "b", "c"} {
			f.create(id)
		}
		f.end("b", record.Failed, "early")
		f.end("c", record.Failed, "earlier")
		f.gatherLinks("g", "a", "c", "b", "a")
		h, err := f.groups.Head(f.ctx, "g")
		f.ok(err)
		if h.Done != 2 || h.State != record.Failed || h.Failure.Message != "earlier" || h.FirstIndex != 1 {
			f.Fatalf("%+v", h)
		}
		f.gatherLinks("outer", "g", "nobody")
		f.end("a", record.Succeeded, "5")
		outs, err := f.groups.ByIndex(f.ctx, "g", 0, 4)
		f.ok(err)
		if string(outs[0].Value[1:]) != "5" || string(outs[3].Value[1:]) != "5" || outs[2].Failure.Message != "early" {
			f.Fatalf("%+v", outs)
		}
		h, err = f.groups.Head(f.ctx, "outer")
		f.ok(err)
		if !h.Barrier || h.State != record.Failed || h.Failure.Message != "earlier" {
			f.Fatalf("%+v", h)
		}
		if n, err := f.conn.Redis().HLen(f.ctx, f.keys.Outbox(0)).Result(); err != nil || n != 0 {
			f.Fatalf("outbox %d %v", n, err)
		}
	})
}

func TestAMemberOfOneGroupInAnother(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.gather("g", 3)
		tk := record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}
		first := f.pull("w1", tk, 1).Range
		f.settle("w1", first, f.outcomes(first, record.Succeeded))
		f.gatherLinks("h", "g:0", "g:2", "g:7")
		rest := f.pull("w1", tk, 2).Range
		if s := f.settle("w1", rest, f.outcomes(rest, record.Failed)); !s.Outbox {
			f.Fatal("nobody is told")
		}
		f.ok(f.groups.DeliverOutbox(f.ctx, 0))
		outs, err := f.groups.ByIndex(f.ctx, "h", 0, 3)
		f.ok(err)
		if string(outs[0].Value[1:]) != "0" || outs[1].Failure == nil || outs[1].Failure.Message != "boom 2" || outs[2].Failure == nil || outs[2].Failure.Kind != "unknown" {
			f.Fatalf("%+v", outs)
		}
	})
}

func TestCancelEndsWhatNobodyClaimed(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.gather("g", 1200)
		p := f.pull("w1", record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}, 3)
		why := &record.Failure{Kind: "cancelled", Message: "enough"}
		res, err := f.groups.Cancel(f.ctx, "g", false, why)
		f.ok(err)
		if !res.Accepted {
			f.Fatalf("%+v", res)
		}
		h, err := f.groups.Head(f.ctx, "g")
		f.ok(err)
		if h.Done != 1197 || h.State != record.Cancelled || h.Barrier {
			f.Fatalf("%+v", h)
		}
		f.settle("w1", p.Range, f.outcomes(p.Range, record.Succeeded))
		as, err := f.records.Watch(f.ctx, "", []record.Interest{{ID: "g", View: record.BarrierView}})
		f.ok(err)
		if as[0].Outcome.State != record.Cancelled || as[0].Outcome.Failure.Message != "enough" {
			f.Fatalf("%+v", as[0])
		}
		if res, err = f.groups.Cancel(f.ctx, "g", true, why); err != nil || res.Accepted {
			f.Fatalf("%+v %v", res, err)
		}
	})
}

func TestEmptyGather(t *testing.T) {
	each(t, func(f *fixture) {
		f.gather("g", 0)
		h, err := f.groups.Head(f.ctx, "g")
		f.ok(err)
		if !h.Barrier || h.State != record.Succeeded {
			f.Fatalf("%+v", h)
		}
	})
}

func TestDecision44_TheSameGroupAgain(t *testing.T) {
	each(t, func(f *fixture) {
		f.gather("g", 3)
		again := func(n int, policy record.Conflict) record.CreateStatus {
			st := f.groups.Stage(Spec{ID: "g", Queue: "default", Retention: time.Hour, MaxPending: time.Hour, OnConflict: policy})
			for i := range n {
				f.ok(st.Add(f.ctx, Member{Profile: &Profile{Type: "echo", Queue: "default", Retention: time.Hour}, Args: record.Wrap(fmt.Appendf(nil, "%d", i)), Digest: []byte("d")}))
			}
			out, err := st.Commit(f.ctx, f.carrier)
			f.ok(err)
			if n, err := f.conn.Redis().Exists(f.ctx, f.keys.Args("g", st.nonce, 0)).Result(); err != nil || n != 0 {
				f.Fatalf("staging left: %d %v", n, err)
			}
			return out.Status
		}
		if s := again(3, record.Return); s != record.Existing {
			f.Fatal(s)
		}
		if s := again(3, record.Error); s != record.ConflictID {
			f.Fatal(s)
		}
		if s := again(4, record.Return); s != record.ConflictArgs {
			f.Fatal(s)
		}
	})
}

// settleRange settles outcomes of a range, in completion order.
func settleRange(ctx context.Context, s *Store, worker string, r *Range, outs []record.Outcome) (record.Settled, error) {
	return s.Settle(ctx, endsOf(worker, r, outs))
}

func endsOf(worker string, r *Range, outs []record.Outcome) *Ends {
	ends := r.NewEnds(worker, r.QueuedAt, nil)
	for i := range outs {
		ends.Add(&outs[i])
	}
	return ends
}
