package history

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Violation is one thing that must not be.
type Violation struct {
	Rule string // "I1" … "I8", or "form" where the history itself cannot be
	What string
}

func (v Violation) String() string { return v.Rule + ": " + v.What }

// Summary is what was judged, so that a test can say that there was something to judge.
type Summary struct {
	Events, Created, Awaits, Ended, Runs, Again, Faults int

	States map[string]int // how tasks and members ended
}

// grace is what a busy machine may add to the limit of an await before that counts as hanging.
const grace = 15 * time.Second

// typed are the errors that an await may end with: the closed family, and the end of the caller's own context.
var typed = map[string]bool{
	"unknown": true, "expired": true, "lost": true, "unavailable": true, "undecodable": true, "closed": true, "context": true,
}

// Check judges a whole history:
//
//	I1  what was acknowledged has an end that somebody saw: a success, unless its creation says otherwise, or a crash_loop after three deaths
//	I2  everybody who saw the end of an ID saw the same
//	I3  every await ends, within its limit, with an outcome or a typed error, unless its process was killed
//	I4  a group has as many results as calls, in their order, and each value is that of its call
//	I5  an ID was run once at most for each of its deliveries, and again in the same attempt only where a fault took the run before
//	I6  nothing is left without a time to live
//	I7  goroutines and connections are back where they were
//	I8  once an await returned an outcome, every later one returns the same
func Check(events []Event) ([]Violation, Summary) {
	c := &checker{
		begun: map[opKey]Event{}, ended: map[opKey]Event{}, want: map[string][]string{},
		ends: map[string][]string{}, born: map[string]int64{}, acked: map[string]int64{}, seen: map[string]sighting{},
		open: map[opKey]*hit{}, struck: map[int][]*hit{},
	}
	c.sum.Events, c.sum.States = len(events), map[string]int{}
	for _, e := range events {
		c.take(e)
	}
	c.finish()
	return c.bad, c.sum
}

type opKey struct{ proc, op int }

// sighting is the first sight of an end.
type sighting struct {
	outcome Outcome
	members []Outcome
	op      opKey
}

type checker struct {
	begun, ended map[opKey]Event
	order        []opKey // of the invocations
	want         map[string][]string
	ends         map[string][]string // the states that are allowed, succeeded alone where there are none
	born, acked  map[string]int64    // when its first creation began, and when one was acknowledged first
	seen         map[string]sighting
	hits         []*hit // faults of processes
	open         map[opKey]*hit
	struck       map[int][]*hit // by process
	bad          []Violation
	sum          Summary
}

func (c *checker) violated(rule, format string, args ...any) {
	c.bad = append(c.bad, Violation{rule, fmt.Sprintf(format, args...)})
}

// take sorts one event in.
func (c *checker) take(e Event) {
	key := opKey{e.Proc, e.Op}
	begin, known := c.begun[key]
	_, over := c.ended[key]
	switch {
	case e.Phase == Invoke && known:
		c.violated("form", "operation %d of process %d begins twice", e.Op, e.Proc)
	case e.Phase == Invoke:
		c.begun[key], c.order = e, append(c.order, key)
		c.invoked(e)
	case e.Phase != OK && e.Phase != Fail && e.Phase != Info:
		c.violated("form", "operation %d of process %d: phase %q", e.Op, e.Proc, e.Phase)
	case !known || begin.Kind != e.Kind || begin.ID != e.ID || e.At < begin.At:
		c.violated("form", "operation %d of process %d ends, and its beginning is another or missing", e.Op, e.Proc)
	case over:
		c.violated("form", "operation %d of process %d ends twice", e.Op, e.Proc)
	default:
		c.ended[key] = e
		c.completed(key, begin, e)
	}
}

func (c *checker) invoked(e Event) {
	switch e.Kind {
	case Create, Gather:
		c.create(e, e.ID, e.Want)
		for id, value := range e.Own {
			c.create(e, id, []string{value})
		}
	case Fault:
		c.strike(opKey{e.Proc, e.Op}, e)
	case Await:
		c.sum.Awaits++
	case Run:
		c.sum.Runs++
	case Read, Keys, Gauge, Census:
	default:
		c.violated("form", "operation %d of process %d: kind %q", e.Op, e.Proc, e.Kind)
	}
}

func (c *checker) create(e Event, id string, want []string) {
	if old, ok := c.want[id]; ok && (!slices.Equal(old, want) || !slices.Equal(c.ends[id], e.Ends)) {
		c.violated("form", "%s is created with %q %q and with %q %q", id, old, c.ends[id], want, e.Ends)
	} else if !ok {
		c.born[id] = e.At
	}
	c.want[id], c.ends[id] = want, e.Ends
}

func (c *checker) acknowledged(id string, at int64) {
	if _, ok := c.acked[id]; !ok {
		c.acked[id] = at
	}
}

func (c *checker) completed(key opKey, begin, e Event) {
	switch e.Kind {
	case Create, Gather:
		if e.Phase == OK {
			c.acknowledged(e.ID, e.At)
			for id := range begin.Own {
				c.acknowledged(id, e.At)
			}
		}
	case Await:
		if took := time.Duration(e.At - begin.At); begin.Limit > 0 && took > time.Duration(begin.Limit)+grace {
			c.violated("I3", "an await of %s took %v, its limit was %v", e.ID, took, time.Duration(begin.Limit))
		}
		if e.Phase != OK && !typed[e.Err] {
			c.violated("I3", "an await of %s ended with %q, which is of no kind", e.ID, e.Err)
		}
		c.sight(key, begin, e)
	case Read:
		c.sight(key, begin, e)
	case Keys:
		for _, k := range e.Left {
			c.violated("I6", "%s is left", k)
		}
	case Census:
		for _, what := range slices.Sorted(maps.Keys(e.Count)) {
			if was, ok := begin.Count[what]; !ok || e.Count[what] > was {
				c.violated("I7", "%d %s, there were %d", e.Count[what], what, was)
			}
		}
	case Fault:
		c.over(key, e.At)
	case Run:
	}
}

// sight compares an end with the first sight of it.
func (c *checker) sight(key opKey, begin, e Event) {
	if e.Phase != OK {
		return
	}
	if e.Outcome == nil && e.Members == nil {
		c.violated("form", "%s of %s is ok and shows no outcome", e.Kind, e.ID)
		return
	}
	now := sighting{members: e.Members, op: key}
	if e.Outcome != nil {
		now.outcome = *e.Outcome
	}
	first, ok := c.seen[e.ID]
	switch {
	case !ok:
		c.seen[e.ID] = now
		c.sum.Ended++
	case first.outcome != now.outcome || !slices.Equal(first.members, now.members):
		// A later await is rule 8's; who looked at the same time, or read Redis, is rule 2's.
		if e.Kind == Await && c.begun[first.op].Kind == Await && begin.At > c.ended[first.op].At {
			c.violated("I8", "%s: an await after the first outcome returned another: %+v, then %+v", e.ID, first, now)
		} else {
			c.violated("I2", "%s has two ends: %+v and %+v", e.ID, first, now)
		}
	}
}

// finish judges what only the whole history shows.
func (c *checker) finish() {
	c.sum.Created = len(c.acked)
	for _, id := range slices.Sorted(maps.Keys(c.acked)) {
		if _, ok := c.seen[id]; !ok {
			c.violated("I1", "%s was acknowledged, and nobody saw its end", id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.seen)) {
		c.results(id)
	}
	for _, key := range c.order {
		if c.begun[key].Kind == Await {
			c.await(key)
		}
	}
	c.runs()
}

// await judges one await against what was seen before it, and one that never ended.
func (c *checker) await(key opKey) {
	begin := c.begun[key]
	end, over := c.ended[key]
	if !over {
		if !c.killed(key.proc) {
			c.violated("I3", "an await of %s never ended", begin.ID)
		}
		return
	}
	if end.Phase == OK || end.Err != "unknown" && end.Err != "lost" && end.Err != "expired" {
		return
	}
	first, ok := c.seen[begin.ID]
	at, acked := c.acked[begin.ID]
	switch {
	case ok && begin.At > c.ended[first.op].At:
		if end.Err != "expired" { // its retention may be over
			c.violated("I8", "%s: an await after the first outcome ended as %s", begin.ID, end.Err)
		}
	case acked && begin.At > at && !slices.Contains(c.ends[begin.ID], end.Err):
		c.violated("I1", "%s was acknowledged, and an await after that ended as %s", begin.ID, end.Err)
	}
}

// results compares the values of an end with those of the calls.
func (c *checker) results(id string) {
	want, ok := c.want[id]
	if !ok {
		c.violated("form", "%s has an end and was never created", id)
		return
	}
	s := c.seen[id]
	outs := s.members
	if outs == nil {
		outs = []Outcome{s.outcome}
	}
	if len(outs) != len(want) {
		c.violated("I4", "%s has %d results of %d calls", id, len(outs), len(want))
		return
	}
	for i, out := range outs {
		if s.members != nil && out.Index != i {
			c.violated("I4", "%s: result %d is that of call %d", id, i, out.Index)
		}
		c.state(id, s, out)
		if out.State == "succeeded" && out.Value != want[i] {
			c.violated("I4", "%s: result %d is %q, the call's is %q", id, i, out.Value, want[i])
		}
	}
}

// state judges how a task or a member ended. A member with a record of its own is counted there.
func (c *checker) state(id string, s sighting, out Outcome) {
	if s.members == nil || out.ID != "" {
		c.sum.States[out.State]++
	}
	switch allowed := c.ends[id]; {
	case slices.Contains(allowed, out.State), len(allowed) == 0 && out.State == "succeeded":
	case out.State == "crash_loop" && c.deaths(c.born[id], c.ended[s.op].At) >= crashes:
	default:
		c.violated("I1", "%s (member %d) ended as %s %s, and nothing allows that", id, out.Index, out.State, out.Err)
	}
}

// runs compares executions with deliveries.
func (c *checker) runs() {
	type try struct {
		id string
		n  int
	}
	byID, byDelivery, byAttempt := map[string]int{}, map[try]int{}, map[try]int{}
	for _, key := range c.order {
		e := c.begun[key]
		if e.Kind != Run {
			continue
		}
		byID[e.ID]++
		if byDelivery[try{e.ID, e.Delivery}]++; byDelivery[try{e.ID, e.Delivery}] == 2 {
			c.violated("I5", "delivery %d of %s ran twice", e.Delivery, e.ID)
		}
		a := try{e.ID, e.Attempt}
		if c.took(key) { // nobody need know how it ended
			c.sum.Again++
			continue
		}
		if byAttempt[a]++; byAttempt[a] == 2 {
			c.violated("I5", "attempt %d of %s ran again, and no fault had taken it", e.Attempt, e.ID)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(c.seen)) {
		s := c.seen[id]
		if s.members == nil {
			c.within(id, byID[id], s.outcome)
		}
		for _, m := range s.members {
			if m.ID != "" {
				c.within(m.ID, byID[m.ID], m)
			}
		}
	}
}

// within compares the executions of an ID with the number of its last delivery.
func (c *checker) within(id string, runs int, out Outcome) {
	if runs > out.Delivery {
		c.violated("I5", "%s ran %d times in %d deliveries", id, runs, out.Delivery)
	}
	if out.State == "succeeded" && runs == 0 {
		c.violated("I5", "%s succeeded and never ran", id)
	}
}
