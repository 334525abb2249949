package group

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatherq/gatherq/internal/record"
)

// fleet is a model of workers that claim, settle, die in the middle, are reaped in parts, and come back.
type fleet struct {
	*fixture
	t       *rapid.T
	group   string
	members int
	bound   int // on members that run at once; 0: none
	beat    map[string]int64
	gone    map[string]bool // do not act, and will be reaped
	tasks   map[string]map[string]record.Claim
	ranges  map[string][]*held1
	tickets map[string][]record.Ticket
	number  map[string]int64 // largest claimed so far
	ended   map[string]int   // settles that were applied
}

// held1 is a range in a worker's hands, with the members that it has not told about.
type held1 struct {
	r    *Range
	open []int
}

func (m *fleet) seen(id string, number int64) {
	if number <= m.number[id] {
		m.t.Fatalf("%s is claimed under %d after %d", id, number, m.number[id])
	}
	m.number[id] = number
}

func (m *fleet) applied(id string) {
	if m.ended[id]++; m.ended[id] > 1 {
		m.t.Fatalf("%s ended twice", id)
	}
}

// pending returns the deliveries of what waits, as asynq would bring them.
func (m *fleet) pending(ids []string) (refs []record.Ref) {
	pipe := m.conn.Redis().Pipeline()
	got := make([]*redis.SliceCmd, len(ids))
	for i, id := range ids {
		got[i] = pipe.HMGet(m.ctx, m.keys.Record(id), "s", "n")
	}
	_, err := pipe.Exec(m.ctx)
	m.ok(err)
	for i, id := range ids {
		if f := got[i].Val(); f[0] == string(record.Pending) || f[0] == string(record.Retrying) {
			number, err := strconv.ParseInt(fmt.Sprint(f[1]), 10, 64)
			m.ok(err)
			refs = append(refs, record.Ref{ID: id, Number: number})
		}
	}
	return refs
}

func (m *fleet) ids() (ids []string) {
	for i := range 3 {
		ids = append(ids, fmt.Sprint("task", i))
	}
	for i := range m.members {
		ids = append(ids, fmt.Sprintf("%s:%d", m.group, i)) // has a record only if it travels alone
	}
	return ids
}

func (m *fleet) claimSome(w string) bool {
	refs := m.pending(m.ids())
	if len(refs) == 0 {
		return false
	}
	ref := refs[rapid.IntRange(0, len(refs)-1).Draw(m.t, "delivery")]
	cs, err := m.records.Claim(m.ctx, w, fmt.Sprint(w, ref.Number), ref)
	m.ok(err)
	if cs[0].Status == record.Claimed {
		m.seen(ref.ID, ref.Number)
		m.tasks[w][ref.ID] = cs[0]
		if cs[0].Crashes >= record.Suspect && rapid.Bool().Draw(m.t, "begins") {
			_, err := m.records.Begin(m.ctx, w, ref)
			m.ok(err)
		}
	}
	return true
}

func (m *fleet) pullSome(w string) bool {
	tickets := append(m.open(m.group), m.tickets[w]...)
	if len(tickets) == 0 {
		return false
	}
	at := rapid.IntRange(0, len(tickets)-1).Draw(m.t, "ticket")
	m.next(w, tickets[at], nil)
	return true
}

// next goes on with a ticket and settles done along the way, if there is any; now and then twice, since the first answer was lost.
func (m *fleet) next(w string, ticket record.Ticket, done *Ends) (settled bool) {
	nonce, want := uuid.NewString(), rapid.IntRange(1, 6).Draw(m.t, "want")
	p, s, err := m.groups.Next(m.ctx, w, ticket, nonce, want, 0, done)
	m.ok(err)
	m.arrived(p.Others)
	settled = s.Applied
	if rapid.IntRange(0, 3).Draw(m.t, "lost") == 0 {
		p, s, err = m.groups.Next(m.ctx, w, ticket, nonce, want, 0, done)
		m.ok(err)
		if s.Applied {
			m.t.Fatal("settled twice")
		}
	}
	if p.Status != GotRange {
		return settled
	}
	if !slices.Contains(m.tickets[w], ticket) {
		m.tickets[w] = append(m.tickets[w], ticket)
	}
	h := &held1{r: p.Range}
	for _, x := range p.Range.Members {
		m.seen(fmt.Sprintf("%s:%d", m.group, x.Index), p.Range.Number)
		h.open = append(h.open, x.Index)
	}
	m.ranges[w] = append(m.ranges[w], h)
	return settled
}

// endTask tells something about a task that w holds, or believes to hold.
func (m *fleet) endTask(w string) bool {
	ids := slices.Sorted(maps.Keys(m.tasks[w]))
	if len(ids) == 0 {
		return false
	}
	id := rapid.SampledFrom(ids).Draw(m.t, "task")
	c := m.tasks[w][id]
	delete(m.tasks[w], id)
	var err error
	how := rapid.SampledFrom([]string{"settle", "settle", "retry", "giveback"}).Draw(m.t, "how")
	for range rapid.IntRange(1, 2).Draw(m.t, "times") { // a lost answer is asked for again
		var s record.Settled
		switch how {
		case "settle":
			was := m.look(id).State.Final() || m.ended[id] > 0
			if s, err = m.records.Settle(m.ctx, w, c.Ref, record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte("1")), Attempt: c.Attempt}); s.Applied && !was {
				m.applied(id)
			}
		case "retry":
			s, err = m.records.Retry(m.ctx, w, c.Ref, &record.Failure{Kind: "error"}, 0)
		case "giveback":
			s, err = m.records.GiveBack(m.ctx, w, c.Ref, 0, false)
		}
		m.ok(err)
		m.arrived(s.Others)
	}
	return true
}

// endMembers tells something about members that w holds, or believes to hold.
func (m *fleet) endMembers(w string) bool {
	if len(m.ranges[w]) == 0 {
		return false
	}
	at := rapid.IntRange(0, len(m.ranges[w])-1).Draw(m.t, "range")
	h := m.ranges[w][at]
	n := rapid.IntRange(1, len(h.open)).Draw(m.t, "members")
	some := h.open[:n]
	h.open = h.open[n:]
	if len(h.open) == 0 {
		m.ranges[w] = slices.Delete(m.ranges[w], at, at+1)
	}
	how := rapid.SampledFrom([]string{"settle", "next", "return", "leave", "apart"}).Draw(m.t, "how")
	if how == "next" && len(m.tickets[w]) == 0 {
		how = "settle"
	}
	outs := make([]record.Outcome, n)
	for i, index := range some {
		outs[i] = record.Outcome{Index: index, State: record.Succeeded, Value: record.Wrap([]byte("1")), Attempt: 1, Started: true,
			StartedAt: time.Now(), FinishedAt: time.Now()}
	}
	applied := func(yes bool) {
		if yes {
			for _, index := range some {
				m.applied(fmt.Sprintf("%s:%d", m.group, index))
			}
		}
	}
	if how == "next" {
		applied(m.next(w, m.tickets[w][0], endsOf(w, h.r, outs)))
		return true
	}
	for range rapid.IntRange(1, 2).Draw(m.t, "times") { // a lost answer is asked for again
		var s record.Settled
		var err error
		switch how {
		case "settle":
			s, err = settleRange(m.ctx, m.groups, w, h.r, outs)
			applied(s.Applied)
		case "return":
			s, err = m.groups.ReturnRange(m.ctx, w, h.r, some)
		case "leave":
			for _, index := range some {
				s, err = m.groups.Leave(m.ctx, w, h.r, index, &record.Failure{Kind: "error"}, 0)
				m.ok(err)
				m.arrived(s.Others)
			}
			continue
		case "apart":
			for _, index := range some {
				s, err = m.groups.Apart(m.ctx, w, h.r, index)
				m.ok(err)
				m.arrived(s.Others)
			}
			continue
		}
		m.ok(err)
		m.arrived(s.Others)
	}
	return true
}

// forget empties a worker's hands: its process has ended.
func (m *fleet) forget(w string) {
	m.tasks[w], m.ranges[w], m.tickets[w] = map[string]record.Claim{}, nil, nil
}

// fleetWorkers are the workers of the model; z finishes what they leave.
var fleetWorkers = []string{"a", "b", "c"}

// newFleet returns a fleet with three tasks and a group, in a Redis that is empty otherwise.
func newFleet(f *fixture, t *rapid.T, run, members, bound int) *fleet {
	f.ok(f.conn.Redis().FlushDB(f.ctx).Err())
	m := &fleet{
		fixture: f, t: t, group: fmt.Sprint("g", run), members: members, bound: bound, beat: map[string]int64{}, gone: map[string]bool{},
		tasks: map[string]map[string]record.Claim{}, ranges: map[string][]*held1{}, tickets: map[string][]record.Ticket{},
		number: map[string]int64{}, ended: map[string]int{},
	}
	for i := range 3 {
		f.createWith(fmt.Sprint("task", i), record.Options{MaxCrashes: 1000}.Encode())
	}
	calls := make([]Member, m.members)
	for i := range calls {
		calls[i] = call(i)
		calls[i].Options = record.Options{MaxCrashes: 1000}.Encode()
	}
	f.stage(Spec{ID: m.group, MaxRunning: m.bound}, calls...)
	for _, w := range fleetWorkers {
		m.beat[w] = 1
		m.forget(w)
	}
	m.permits()
	return m
}

// step lets a worker do one of these.
func (m *fleet) step(what string) {
	w := rapid.SampledFrom(fleetWorkers).Draw(m.t, "worker")
	switch what {
	case "dead": // it is declared so, and acts on all the same
		m.gone[w] = true
	case "reap": // somebody takes a part of what it held
		if m.gone[w] {
			_, err := m.groups.Reap(m.ctx, 0, Death{Worker: w, Beat: m.beat[w], Charged: true}, rapid.IntRange(1, 3).Draw(m.t, "part"))
			m.ok(err)
		}
	case "revive": // it comes back, and learns what it has lost
		if m.gone[w] {
			m.ok(m.groups.Revive(m.ctx, w, m.beat[w]))
			if got := m.reap(Death{Worker: w, Beat: m.beat[w], Charged: true}, 3); !got.Revived {
				m.t.Fatalf("reaped by one that is late: %+v", got)
			}
			m.beat[w]++
			m.gone[w] = false
		}
	case "replace": // its process ends, and another one takes its place
		m.reap(Death{Worker: w, Beat: m.beat[w], Charged: true}, 3)
		m.forget(w)
		m.beat[w]++
		m.gone[w] = false
	case "end task":
		_ = m.endTask(w) || m.endMembers(w)
	case "end members":
		_ = m.endMembers(w) || m.endTask(w)
	case "claim":
		m.claimSome(w)
	case "pull":
		m.pullSome(w)
	case "too late":
		m.tooLate()
	case "due":
		if got, err := m.records.Due(m.ctx, 0, 100); err != nil || len(got.Groups) > 0 {
			m.t.Fatalf("%+v %v", got, err)
		}
	}
	m.permits()
}

// allDie ends the workers, and one that comes after them finishes everything.
func (m *fleet) allDie() {
	for _, w := range fleetWorkers {
		m.reap(Death{Worker: w, Beat: m.beat[w], Charged: true}, 3)
		if left := m.held(w); len(left) > 0 {
			m.t.Fatalf("%s still holds %q", w, left)
		}
		m.forget(w)
	}
	m.finish("z")
}

// TestDecision02_OneOutcomeWhoeverDies lets workers die anywhere, be reaped in parts by several at once, and act on after it.
func TestDecision02_OneOutcomeWhoeverDies(t *testing.T) {
	what := []string{"dead", "reap", "reap", "revive", "replace", "end task", "end task", "end members", "claim", "pull", "pull", "too late", "due"}
	each(t, func(f *fixture) {
		run := 0
		rapid.Check(f.T, func(t *rapid.T) {
			run++
			m := newFleet(f, t, run, rapid.IntRange(1, 20).Draw(t, "members"), rapid.IntRange(0, 6).Draw(t, "bound"))
			for range rapid.IntRange(1, 80).Draw(t, "steps") {
				m.step(rapid.SampledFrom(what).Draw(t, "what"))
			}
			m.allDie()
		})
	})
}

// finish runs everything to its end and looks at what became of it.
func (m *fleet) finish(w string) {
	m.forget(w)
	for end := time.Now().Add(20 * time.Second); ; {
		m.permits()
		if time.Now().After(end) {
			m.t.Fatalf("it does not end: %+v, tickets %+v", m.look(m.group), m.open(m.group))
		}
		_, err := m.records.Due(m.ctx, 0, 100) // what waits for its time
		m.ok(err)
		for _, ref := range m.pending(m.ids()) {
			cs, err := m.records.Claim(m.ctx, w, "n", ref)
			m.ok(err)
			if cs[0].Status != record.Claimed {
				continue
			}
			m.seen(ref.ID, ref.Number)
			s, err := m.records.Settle(m.ctx, w, ref, record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte("1")), Attempt: cs[0].Attempt})
			m.ok(err)
			if !s.Applied {
				m.t.Fatalf("%s: its holder was refused", ref.ID)
			}
			m.applied(ref.ID)
		}
		for _, tk := range m.open(m.group) {
			for p := m.pull(w, tk, 64); p.Status == GotRange; p = m.pull(w, tk, 64) {
				if s := m.settle(w, p.Range, m.outcomes(p.Range, record.Succeeded)); !s.Applied {
					m.t.Fatalf("range %+v: its holder was refused", p.Range)
				}
				for _, x := range p.Range.Members {
					m.seen(fmt.Sprintf("%s:%d", m.group, x.Index), p.Range.Number)
					m.applied(fmt.Sprintf("%s:%d", m.group, x.Index))
				}
			}
		}
		if h, err := m.groups.Head(m.ctx, m.group); err != nil || h.Barrier {
			m.ok(err)
			break
		}
	}
	outs, err := m.groups.ByIndex(m.ctx, m.group, 0, m.members)
	m.ok(err)
	for _, o := range outs {
		if o.State != record.Succeeded || m.ended[o.ID] != 1 {
			m.t.Fatalf("%+v, told %d times", o, m.ended[o.ID])
		}
	}
	for i := range 3 {
		if in := m.look(fmt.Sprint("task", i)); in.State != record.Succeeded || m.ended[in.ID] != 1 {
			m.t.Fatalf("%+v, told %d times", in, m.ended[in.ID])
		}
	}
	if held := m.held(w); len(held) > 0 {
		m.t.Fatalf("%s still holds %q", w, held)
	}
}
