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
		if f[0] == string(record.Pending) && f[1] == "1" && f[2] == "1" {
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
