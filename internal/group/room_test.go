package group

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatherq/gatherq/internal/record"
)

// permits looks at the record of a group with a bound: permits are held for exactly the members that are open, there are never more than the
// bound, and never is there a free one while somebody waits whom nobody will wake.
func (m *fleet) permits() {
	m.Helper()
	f, err := m.conn.Redis().HGetAll(m.ctx, m.keys.Record(m.group)).Result()
	m.ok(err)
	number := func(field string) int {
		n, _ := strconv.Atoi(f[field])
		return n
	}
	bound, permits := number("mr"), number("pm")
	if m.bound == 0 || m.bound >= m.members {
		if bound != 0 || permits != 0 || f["pk"] != "" {
			m.t.Fatalf("a group without a bound counts: %v", f)
		}
		return
	}
	ranges, err := m.conn.Redis().HGetAll(m.ctx, m.keys.PrefixOf(m.group)+"x:"+m.group).Result()
	m.ok(err)
	line, err := m.conn.Redis().LRange(m.ctx, m.keys.Line(m.group), 0, -1).Result()
	m.ok(err)
	held, claimed, waiting := 0, 0, 0
	for field, text := range ranges {
		if field[0] >= '0' && field[0] <= '9' {
			n, err := strconv.Atoi(strings.Split(text, ";")[7])
			m.ok(err)
			held, claimed = held+n, claimed+n
			continue
		}
		r, err := m.conn.Redis().HGetAll(m.ctx, m.keys.Record(m.group+":"+field[1:])).Result()
		m.ok(err)
		switch r["pt"] {
		case "1":
			held++
			at, err := m.conn.Redis().ZScore(m.ctx, m.keys.Open(0), m.group+":"+field[1:]).Result()
			m.ok(err)
			if r["h"] == "" && (r["s"] != string(record.Pending) || time.UnixMilli(int64(at)).After(time.Now().Add(time.Minute))) {
				m.t.Fatalf("member %s has a permit, does not run, and nobody looks at it before %v: %v", field[1:], at, r)
			}
		case "w":
			waiting++
			if n := len(slices.DeleteFunc(slices.Clone(line), func(s string) bool { return s != field[1:] })); n != 1 {
				m.t.Fatalf("member %s waits at %d places of the line %v", field[1:], n, line)
			}
		}
		if r["h"] != "" {
			claimed++
			if r["pt"] != "1" {
				m.t.Fatalf("member %s runs without a permit: %v", field[1:], r)
			}
		}
	}
	live, parked := 0, 0
	for place := range 32 {
		if text, ok := f[fmt.Sprint("t", place)]; ok && strings.HasSuffix(text, ";p") {
			parked++
		} else if ok {
			live++
		}
	}
	left, err := m.conn.Redis().LLen(m.ctx, m.keys.PrefixOf(m.group)+"y:"+m.group).Result()
	m.ok(err)
	unclaimed := number("cs") < number("sn") || left > 0
	switch {
	case bound != m.bound || permits != held:
		m.t.Fatalf("bound %d of %d, %d permits for %d members: %v %v", bound, m.bound, permits, held, f, ranges)
	case permits > bound || claimed > bound:
		m.t.Fatalf("%d permits, %d claims, the bound is %d", permits, claimed, bound)
	case f["bs"] != "":
	case permits < bound && waiting > 0:
		m.t.Fatalf("%d of %d permits are held, and %v wait in line", permits, bound, line)
	case permits < bound && unclaimed && live == 0:
		m.t.Fatalf("%d of %d permits are held, members are unclaimed, and no ticket lives: %v", permits, bound, f)
	case parked != strings.Count(f["pk"]+",", ",") && !(parked == 0 && f["pk"] == ""):
		m.t.Fatalf("%d tickets are parked, at %q", parked, f["pk"])
	}
}

// arrived notes, or does not, that these were enqueued.
func (m *fleet) arrived(hs []record.HandOver) {
	m.Helper()
	for _, h := range hs {
		if t := h.Delivery.Ticket; t != nil && t.Group != m.group || t == nil && (!h.First || len(h.Delivery.Refs) != 1) {
			m.t.Fatalf("%+v", h)
		}
	}
	if rapid.Bool().Draw(m.t, "marked") {
		m.ok(m.records.Mark(m.ctx, hs...))
	}
}

// tooLate lets the time pass that members which were issued again have to come for their permits.
func (m *fleet) tooLate() {
	for i := range m.members {
		id := fmt.Sprintf("%s:%d", m.group, i)
		f, err := m.conn.Redis().HMGet(m.ctx, m.keys.Record(id), "s", "mk", "pt").Result()
		m.ok(err)
		if f[0] == string(record.Pending) && f[1] != nil && f[1] != "0" && f[1] != "p" && f[2] == "1" {
			m.ok(m.conn.Redis().ZAdd(m.ctx, m.keys.Open(0), redis.Z{Member: id}).Err())
			_, err := m.records.Due(m.ctx, 0, 100)
			m.ok(err)
			if pt := m.conn.Redis().HGet(m.ctx, m.keys.Record(id), "pt").Val(); pt != "0" {
				m.t.Fatalf("%s: pt %q", id, pt)
			}
		}
	}
}

// TestDecision28_MaxRunningNeverOneTooManyNorAPermitInVain is the fleet of TestDecision02_OneOutcomeWhoeverDies with a bound and a crowd of
// members that travel alone.
func TestDecision28_MaxRunningNeverOneTooManyNorAPermitInVain(t *testing.T) {
	what := []string{"claim", "claim", "claim", "claim", "claim", "end task", "end task", "end members", "pull", "pull", "dead", "reap", "replace", "too late", "due"}
	each(t, func(f *fixture) {
		run := 0
		rapid.Check(f.T, func(t *rapid.T) {
			run++
			m := newFleet(f, t, run, rapid.IntRange(5, 24).Draw(t, "members"), rapid.IntRange(1, 4).Draw(t, "bound"))
			for range rapid.IntRange(0, 8).Draw(t, "failures") { // of whole ranges
				tickets := m.open(m.group)
				if len(tickets) == 0 {
					break
				}
				p := f.pull("a", tickets[0], 4)
				if p.Status != GotRange {
					break
				}
				for _, x := range p.Range.Members {
					m.seen(fmt.Sprintf("%s:%d", m.group, x.Index), p.Range.Number)
					s, err := f.groups.Leave(f.ctx, "a", p.Range, x.Index, &record.Failure{Kind: "error"}, 0)
					f.ok(err)
					m.arrived(s.Others)
					m.permits()
				}
			}
			for range rapid.IntRange(20, 100).Draw(t, "steps") {
				m.step(rapid.SampledFrom(what).Draw(t, "what"))
			}
			m.allDie()
		})
	})
}

// bounded gathers n members of which so many may run at once, and returns the tickets.
func (f *fixture) bounded(id string, n, most int) []record.Ticket {
	f.Helper()
	calls := make([]Member, n)
	for i := range calls {
		calls[i] = call(i)
	}
	f.stage(Spec{ID: id, MaxRunning: most}, calls...)
	return f.open(id)
}

// taken pulls a range of so many members, which there must be.
func (f *fixture) taken(worker string, t record.Ticket, want int) *Range {
	f.Helper()
	p := f.pull(worker, t, want)
	if p.Status != GotRange || len(p.Range.Members) != want {
		f.Fatalf("%+v, %+v; want %d members", p, p.Range, want)
	}
	return p.Range
}

func TestDecision28_WhoWaitsForAPermitGetsItInTurn(t *testing.T) {
	each(t, func(f *fixture) {
		tickets := f.bounded("g", 12, 8)
		r := f.taken("a", tickets[0], 2)
		rest := []*Range{f.taken("a", tickets[0], 2), f.taken("a", tickets[0], 2), f.taken("b", tickets[1], 2)}
		for i, tk := range []record.Ticket{tickets[0], tickets[2]} {
			if p := f.pull("a", tk, 1); p.Status != Full || len(p.Others) > 0 {
				f.Fatalf("%d: %+v", i, p)
			}
		}
		if waits, err := f.records.Unclaimed(f.ctx, record.Delivery{Ticket: &tickets[2]}); err != nil || waits {
			f.Errorf("a ticket that found no permit still waits for its delivery: %v", err)
		}
		// Two leave their range and come again when others have their permits.
		refs := map[int]record.Ref{}
		for _, i := range []int{1, 0} {
			s, err := f.groups.Apart(f.ctx, "a", r, i)
			f.ok(err)
			refs[i] = s.HandOver.Delivery.Refs[0]
			if len(s.Others) != 1 || s.Others[0].Delivery.Ticket == nil {
				f.Fatalf("a permit is free, and others go on: %+v", s.Others)
			}
			tk := *s.Others[0].Delivery.Ticket
			rest = append(rest, f.taken("c", tk, 1))
			if p := f.pull("c", tk, 1); p.Status != Full {
				f.Fatalf("%+v", p)
			}
		}
		for _, i := range []int{1, 0} {
			for range 2 { // its delivery may come twice
				cs, err := f.records.Claim(f.ctx, "b", "n", refs[i])
				f.ok(err)
				if cs[0].Status != record.Waits {
					f.Fatalf("member %d: %+v", i, cs[0])
				}
			}
		}
		// Now two end: the permits go to these, the first that came first, not to the tickets.
		some := *rest[0]
		s := f.settle("a", &some, f.outcomes(&some, record.Succeeded))
		if len(s.Others) != 2 {
			f.Fatalf("%+v", s.Others)
		}
		for k, i := range []int{1, 0} {
			h := s.Others[k]
			if !h.First || h.Delivery.Refs[0].ID != fmt.Sprint("g:", i) || h.Delivery.Refs[0].Number <= refs[i].Number {
				f.Fatalf("place %d: %+v", k, h)
			}
			cs, err := f.records.Claim(f.ctx, "b", "n", refs[i])
			f.ok(err)
			if cs[0].Status != record.Stale {
				f.Fatalf("its old delivery: %+v", cs[0])
			}
			f.claim("b", h.Delivery.Refs[0].ID, h.Delivery.Refs[0].Number)
		}
		// A permit for none of them is a ticket's, and what that leaves the next one's.
		if s = f.settle("a", rest[1], f.outcomes(rest[1], record.Succeeded)); len(s.Others) != 1 || s.Others[0].Delivery.Ticket == nil {
			f.Fatalf("%+v", s.Others)
		}
		p := f.pull("b", *s.Others[0].Delivery.Ticket, 1)
		if p.Status != GotRange || len(p.Others) != 1 {
			f.Fatalf("%+v", p)
		}
	})
}

func TestDecision28_APermitIsPassedFromTicketToTicket(t *testing.T) {
	each(t, func(f *fixture) {
		tickets := f.bounded("g", 20, 8)
		var rs []*Range
		for range 4 {
			rs = append(rs, f.taken("a", tickets[0], 2))
		}
		for _, tk := range tickets {
			if p := f.pull("a", tk, 1); p.Status != Full {
				f.Fatalf("%+v", p)
			}
		}
		s := f.settle("a", rs[0], f.outcomes(rs[0], record.Succeeded))
		if len(s.Others) != 1 {
			f.Fatalf("%+v", s.Others)
		}
		p := f.pull("b", *s.Others[0].Delivery.Ticket, 1)
		if p.Status != GotRange || len(p.Others) != 1 {
			f.Fatalf("one permit is left, and no ticket was issued for it: %+v", p)
		}
		if q := f.pull("c", *p.Others[0].Delivery.Ticket, 2); q.Status != GotRange || len(q.Range.Members) != 1 || len(q.Others) != 0 {
			f.Fatalf("%+v", q)
		}
	})
}

// Who tells an end and pulls in one call takes the permits itself: no other ticket is issued for them in vain.
func TestDecision28_APullTakesWhatItsOwnEndsMadeFree(t *testing.T) {
	each(t, func(f *fixture) {
		tickets := f.bounded("g", 20, 8)
		var rs []*Range
		for range 4 {
			rs = append(rs, f.taken("a", tickets[0], 2))
		}
		if p := f.pull("b", tickets[1], 1); p.Status != Full {
			f.Fatalf("%+v", p)
		}
		for want, others := range map[int]int{2: 0, 1: 1} {
			r := rs[want]
			p, s, err := f.groups.Next(f.ctx, "a", tickets[0], fmt.Sprint("n", want), want, 0, endsOf("a", r, f.outcomes(r, record.Succeeded)))
			f.ok(err)
			if !s.Applied || p.Status != GotRange || len(p.Range.Members) != want || len(p.Others) != others {
				f.Fatalf("want %d: %+v %+v", want, s, p)
			}
			if others == 0 {
				continue
			}
			if q := f.pull("b", *p.Others[0].Delivery.Ticket, 2); q.Status != GotRange || len(q.Range.Members) != 1 || f.pull("b", *p.Others[0].Delivery.Ticket, 1).Status != Full {
				f.Fatalf("%+v", q)
			}
		}
	})
}

// No worker has more than its part of the permits by one pull, so that others find some.
func TestDecision28_ARangeIsAPartOfTheBound(t *testing.T) {
	each(t, func(f *fixture) {
		for most, want := range map[int]int{1: 1, 4: 1, 5: 2, 8: 2, 64: 16} {
			id := fmt.Sprint("g", most)
			tickets := f.bounded(id, 200, most)
			if r := f.taken("a", tickets[0], want); r.From != 0 {
				f.Fatal(r)
			}
			if p := f.pull("b", tickets[1], 64); most > 1 && len(p.Range.Members) != want || most == 1 && p.Status != Full {
				f.Errorf("bound %d: %+v", most, p)
			}
		}
	})
}

func TestDecision28_WhoDoesNotRunHoldsNoPermit(t *testing.T) {
	each(t, func(f *fixture) {
		permits := func() string { return f.conn.Redis().HGet(f.ctx, f.keys.Record("g"), "pm").Val() }
		tickets := f.bounded("g", 9, 1)
		r := f.taken("a", tickets[0], 1)
		s, err := f.groups.Leave(f.ctx, "a", r, 0, &record.Failure{Kind: "error"}, time.Hour)
		f.ok(err)
		if permits() != "0" || len(s.Others) > 0 { // no ticket is parked
			f.Fatalf("a member that waits for its retry: %s permits, %+v", permits(), s)
		}
		f.ok(f.conn.Redis().ZAdd(f.ctx, f.keys.Open(0), redis.Z{Member: "g:0"}).Err())
		d, err := f.records.Due(f.ctx, 0, 10)
		f.ok(err)
		number := d.HandOvers[0].Delivery.Refs[0].Number
		for _, how := range []string{"retry", "give back", "give back later", "settle"} {
			f.claim("a", "g:0", number)
			if p := f.pull("a", f.open("g")[0], 1); permits() != "1" || p.Status != Full {
				f.Fatalf("%s: %s permits, %+v", how, permits(), p)
			}
			ref := record.Ref{ID: "g:0", Number: number}
			var s record.Settled
			switch how {
			case "retry":
				s, err = f.records.Retry(f.ctx, "a", ref, &record.Failure{Kind: "error"}, 0)
			case "give back":
				s, err = f.records.GiveBack(f.ctx, "a", ref, 0, false)
			case "give back later":
				s, err = f.records.GiveBack(f.ctx, "a", ref, time.Hour, false)
			case "settle":
				s, err = f.records.Settle(f.ctx, "a", ref, record.Outcome{State: record.Succeeded, Attempt: 1})
			}
			f.ok(err)
			if permits() != "0" || len(s.Others) != 1 || !s.Applied {
				f.Fatalf("%s: %s permits, %+v", how, permits(), s)
			}
			if how != "settle" {
				f.ok(f.conn.Redis().ZAdd(f.ctx, f.keys.Open(0), redis.Z{Member: "g:0"}).Err())
				d, err := f.records.Due(f.ctx, 0, 10)
				f.ok(err)
				for _, h := range d.HandOvers {
					if len(h.Delivery.Refs) > 0 {
						number = h.Delivery.Refs[0].Number
					}
				}
			}
		}
		if keys := f.conn.Redis().Exists(f.ctx, f.keys.Record("g:0")).Val(); keys != 0 {
			f.Error("its record is still there")
		}
	})
}

// Those who end somebody without enqueuing anything leave it to who looks at open work to let the others go on.
func TestDecision28_APermitThatNobodyCameForGoesOn(t *testing.T) {
	why := &record.Failure{Kind: "cancelled", Message: "enough"}
	each(t, func(f *fixture) {
		tickets := f.bounded("g", 9, 1)
		r := f.taken("a", tickets[0], 1)
		s, err := f.groups.Apart(f.ctx, "a", r, 0)
		f.ok(err)
		first := s.HandOver.Delivery.Refs[0]
		r = f.taken("a", tickets[0], 1)
		if s, err = f.groups.Apart(f.ctx, "a", r, 1); err != nil {
			f.Fatal(err)
		}
		second := s.HandOver.Delivery.Refs[0]
		r = f.taken("a", tickets[0], 1)
		for _, ref := range []record.Ref{first, second} {
			if cs, err := f.records.Claim(f.ctx, "b", "n", ref); err != nil || cs[0].Status != record.Waits {
				f.Fatalf("%+v %v", cs, err)
			}
		}
		s = f.settle("a", r, f.outcomes(r, record.Succeeded))
		if len(s.Others) != 1 || s.Others[0].Delivery.Refs[0].ID != "g:0" {
			f.Fatalf("%+v", s.Others)
		}
		res, err := f.records.Cancel(f.ctx, "g:0", why)
		f.ok(err)
		if !res.Accepted || res.State != record.Cancelled {
			f.Fatalf("%+v", res)
		}
		d, err := f.records.Due(f.ctx, 0, 10)
		f.ok(err)
		if len(d.HandOvers) != 1 || !d.HandOvers[0].First || d.HandOvers[0].Delivery.Refs[0].ID != "g:1" {
			f.Fatalf("%+v", d)
		}
		// The next one holds it when its worker dies, and keeps its place.
		f.claim("dead", "g:1", d.HandOvers[0].Delivery.Refs[0].Number)
		got := f.reap(death("dead"), 10)
		if len(got.HandOvers) != 1 || !got.HandOvers[0].First || f.pull("b", f.open("g")[0], 1).Status != Full {
			f.Fatalf("%+v", got)
		}
		res, err = f.groups.Cancel(f.ctx, "g", true, why)
		f.ok(err)
		if h, err := f.groups.Head(f.ctx, "g"); err != nil || !res.Accepted || !h.Barrier || h.Done != 9 {
			f.Fatalf("%+v %+v %v", res, h, err)
		}
		if n := f.conn.Redis().Exists(f.ctx, f.keys.Line("g")).Val(); n != 0 {
			f.Error("the line is still there")
		}
		if n := f.conn.Redis().ZCard(f.ctx, f.keys.Open(0)).Val(); n != 0 {
			f.Errorf("open work: %v", f.conn.Redis().ZRange(f.ctx, f.keys.Open(0), 0, -1).Val())
		}
	})
}

// A group that is as large as its bound, or has none, counts nothing.
func TestDecision28_WithoutABoundNothingIsCounted(t *testing.T) {
	each(t, func(f *fixture) {
		for id, most := range map[string]int{"none": 0, "large": 9} {
			f.taken("a", f.bounded(id, 9, most)[0], 9)
			if f := f.conn.Redis().HMGet(f.ctx, f.keys.Record(id), "mr", "pm", "pk").Val(); f[0] != nil || f[1] != nil || f[2] != nil {
				t.Errorf("%s: %v", id, f)
			}
		}
	})
}
