package group

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/gatherq/gatherq/internal/record"
)

// claim takes a task; it must be there to be taken.
func (f *fixture) claim(worker, id string, number int64) record.Claim {
	f.Helper()
	cs, err := f.records.Claim(f.ctx, worker, uuid.NewString(), record.Ref{ID: id, Number: number})
	f.ok(err)
	if cs[0].Status != record.Claimed {
		f.Fatalf("claim of %s %d by %s: %+v", id, number, worker, cs[0])
	}
	return cs[0]
}

// reap takes all from a worker, in parts, and returns what is to be delivered.
func (f *fixture) reap(d Death, limit int) (all Reaped) {
	f.Helper()
	for {
		got, err := f.groups.Reap(f.ctx, 0, d, limit)
		f.ok(err)
		all.HandOvers = append(all.HandOvers, got.HandOvers...)
		all.Again += got.Again
		all.CrashLoops += got.CrashLoops
		all.Revived = got.Revived
		if all.Left = got.Left; got.Left == 0 || got.Revived {
			return all
		}
	}
}

// createWith creates a task with options.
func (f *fixture) createWith(id string, options []byte) {
	f.Helper()
	_, err := f.records.Create(f.ctx, record.NewTask{ID: id, Type: "echo", Queue: "default", Args: record.Wrap([]byte("1")), Digest: []byte("x"),
		Options: options, Retention: time.Hour, MaxPending: time.Hour})
	f.ok(err)
}

func death(worker string) Death { return Death{Worker: worker, Beat: 1, Charged: true} }

func (f *fixture) look(id string) record.Info {
	f.Helper()
	in, err := f.records.Look(f.ctx, id)
	f.ok(err)
	return in
}

func (f *fixture) held(worker string) (items []string) {
	f.Helper()
	items, next, err := f.groups.Holdings(f.ctx, 0, worker, "0")
	f.ok(err)
	if next != "0" {
		f.Fatalf("more than a page is held: %s", next)
	}
	slices.Sort(items)
	return items
}

func TestDecision05_OnlyACrashAsSuspectEndsATask(t *testing.T) {
	for _, most := range []int{0, 1, 3, 5} { // 0: the default; 1 is refused where options are made, and would be too few
		t.Run(fmt.Sprint(most), func(t *testing.T) {
			each(t, func(f *fixture) {
				f.createWith("a", record.Options{MaxCrashes: most}.Encode())
				want, number := max(most, record.DefaultMaxCrashes), int64(1)
				for crash := 1; crash <= want; crash++ {
					c := f.claim("w", "a", number)
					if c.Crashes != crash-1 || c.Attempt != 1 {
						f.Fatalf("claimed with %d crashes and attempt %d after %d deaths", c.Crashes, c.Attempt, crash-1)
					}
					if crash > record.Suspect { // it waits for its turn when its worker dies: that is not charged
						if got := f.reap(death("w"), 10); len(got.HandOvers) != 1 || got.CrashLoops != 0 {
							f.Fatalf("crash %d, not begun: %+v", crash, got)
						}
						number++
						if c := f.claim("w", "a", number); c.Crashes != crash-1 {
							f.Fatalf("%d crashes, want %d: it had not begun", c.Crashes, crash-1)
						}
						if ours, err := f.records.Begin(f.ctx, "w", record.Ref{ID: "a", Number: number}); err != nil || !ours {
							f.Fatalf("begin: %v %v", ours, err)
						}
					}
					got := f.reap(death("w"), 10)
					if last := crash == want; last != (got.CrashLoops == 1) || last == (len(got.HandOvers) == 1) {
						f.Fatalf("crash %d of %d: %+v", crash, want, got)
					}
					number++
				}
				in := f.look("a")
				if in.State != record.CrashLoop || in.Failure.Kind != "crash_loop" || in.Crashes != want || in.Attempt != 1 {
					f.Fatalf("%+v, %+v", in, in.Failure)
				}
				if ours, err := f.records.Begin(f.ctx, "w", record.Ref{ID: "a", Number: in.Number}); err != nil || ours {
					f.Fatalf("begin of one that has ended: %v %v", ours, err)
				}
			})
		})
	}
}

func TestDecision05_WhatIsNotCharged(t *testing.T) {
	each(t, func(f *fixture) {
		f.create("a")
		f.claim("w", "a", 1)
		if got := f.reap(Death{Worker: "w", Beat: 1}, 10); len(got.HandOvers) != 1 || f.look("a").Crashes != 0 {
			f.Fatalf("of a worker that drained: %+v, %d crashes", got, f.look("a").Crashes)
		}
		day := time.Now().Add(-24*time.Hour - time.Minute).Unix()
		f.ok(f.conn.Redis().HSet(f.ctx, f.keys.Record("a"), "cr", fmt.Sprintf("x@1@%d,y@1@%d", day, day)).Err())
		if c := f.claim("w", "a", 2); c.Crashes != 0 {
			f.Fatalf("%d crashes of yesterday count", c.Crashes)
		}
		f.reap(death("w"), 10)
		if n := f.look("a").Crashes; n != 1 {
			f.Fatalf("%d crashes, want today's", n)
		}
	})
}

func TestDecision02_WhoWasDeclaredDeadWritesNothingMore(t *testing.T) {
	each(t, func(f *fixture) {
		calls := map[string]func(ref record.Ref) (record.Settled, error){
			"settle": func(ref record.Ref) (record.Settled, error) {
				return f.records.Settle(f.ctx, "zombie", ref, record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte("1")), Attempt: 1})
			},
			"failure": func(ref record.Ref) (record.Settled, error) {
				return f.records.Settle(f.ctx, "zombie", ref, record.Outcome{State: record.Failed, Failure: &record.Failure{Kind: "error"}, Attempt: 1})
			},
			"retry": func(ref record.Ref) (record.Settled, error) {
				return f.records.Retry(f.ctx, "zombie", ref, &record.Failure{Kind: "error"}, time.Millisecond)
			},
			"giveback": func(ref record.Ref) (record.Settled, error) {
				return f.records.GiveBack(f.ctx, "zombie", ref, 0, false)
			},
		}
		for name, call := range calls {
			f.create(name)
			f.claim("zombie", name, 1)
			f.reap(death("zombie"), 10) // and nobody has claimed it since
			before := f.look(name)
			if s, err := call(record.Ref{ID: name, Number: 1}); err != nil || s.Applied || s.HandOver != nil {
				f.Errorf("%s: %+v %v", name, s, err)
			}
			flags, err := f.records.Flags(f.ctx, "zombie", record.Ref{ID: name, Number: 1})
			f.ok(err)
			if after := f.look(name); after.State != before.State || after.Number != before.Number || after.Attempt != 1 || len(flags) != 1 || !flags[0].Fenced {
				f.Errorf("%s: %+v, flags %+v", name, after, flags)
			}
		}

		nonce := f.gather("g", 8)
		tk := record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}
		p := f.pull("zombie", tk, 8)
		f.reap(death("zombie"), 10)
		for name, call := range map[string]func() (record.Settled, error){
			"settle": func() (record.Settled, error) {
				return settleRange(f.ctx, f.groups, "zombie", p.Range, f.outcomes(p.Range, record.Succeeded))
			},
			"leave": func() (record.Settled, error) {
				return f.groups.Leave(f.ctx, "zombie", p.Range, 3, &record.Failure{Kind: "error"}, time.Second)
			},
			"apart":  func() (record.Settled, error) { return f.groups.Apart(f.ctx, "zombie", p.Range, 3) },
			"return": func() (record.Settled, error) { return f.groups.ReturnRange(f.ctx, "zombie", p.Range, []int{1, 2}) },
			"pass":   func() (record.Settled, error) { return f.groups.PassTicket(f.ctx, "zombie", tk) },
		} {
			if s, err := call(); err != nil || s.Applied || s.HandOver != nil {
				f.Errorf("range, %s: %+v %v", name, s, err)
			}
		}
		if again := f.pull("zombie", tk, 8); again.Status != Stale {
			f.Errorf("pull with a ticket that was taken away: %+v", again)
		}
		flags, err := f.groups.Flags(f.ctx, "zombie", p.Range)
		f.ok(err)
		if h, err := f.groups.Head(f.ctx, "g"); err != nil || h.Done != 0 || !flags[0].Fenced {
			f.Errorf("%+v %v, flags %+v", h, err, flags)
		}
	})
}

func TestDecision01_ADeathThatWasNoneIsUndone(t *testing.T) {
	each(t, func(f *fixture) {
		for _, id := range []string{"taken", "kept"} {
			f.create(id)
			f.claim("w", id, 1)
		}
		nonce := f.gather("g", 4)
		tk := record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}
		f.pull("w", tk, 4)
		if got, err := f.groups.Reap(f.ctx, 0, death("w"), 10, "taken", f.held("w")[3]); err != nil || got.Again != 5 { // the reaper is slow
			f.Fatalf("%+v %v, held %v", got, err, f.held("w"))
		}
		if n := f.look("taken").Crashes; n != 1 {
			f.Fatalf("%d crashes before it comes back", n)
		}
		f.ok(f.groups.Revive(f.ctx, "w", 3))
		if got := f.reap(death("w"), 10); !got.Revived || got.Again != 0 {
			f.Fatalf("reaped after it came back: %+v", got)
		}
		if want := []string{"kept", "t|g|0"}; !slices.Equal(f.held("w"), want) {
			f.Fatalf("it holds %v, want %v", f.held("w"), want)
		}
		if n := f.look("taken").Crashes; n != 0 {
			f.Errorf("%d crashes of a death that was none", n)
		}
		if p := f.pull("other", record.Ticket{Group: "g", Nonce: nonce, Place: 1, Number: 2}, 4); p.Range.Crashes != 0 || p.Range.Number != 2 {
			f.Errorf("%+v", p.Range)
		}
		if s, err := f.records.Settle(f.ctx, "w", record.Ref{ID: "kept", Number: 1}, record.Outcome{State: record.Succeeded, Attempt: 1}); err != nil || !s.Applied {
			f.Errorf("what nobody took is not its own any more: %+v %v", s, err)
		}
		f.claim("w", "taken", 2)
		d := death("w")
		d.Beat = 4 // a death of its own
		if got := f.reap(d, 10); got.Revived || f.look("taken").Crashes != 1 {
			f.Errorf("%+v, %d crashes", got, f.look("taken").Crashes)
		}
	})
}

func TestDecision37_ARangeOfTheDeadComesAgainWithItsCrashes(t *testing.T) {
	each(t, func(f *fixture) {
		const n = 20
		nonce := f.gather("g", n)
		tk := record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}
		p := f.pull("dead", tk, 10)
		some := *p.Range
		some.Members = some.Members[2:5]
		f.settle("dead", &some, f.outcomes(&some, record.Succeeded))
		if s, err := f.groups.ReturnRange(f.ctx, "dead", p.Range, []int{6}); err != nil || !s.Applied { // as its drain had begun
			f.Fatal(s, err)
		}
		got := f.reap(death("dead"), 100)
		if got.Again != 7 || len(got.HandOvers) != 1 || len(f.held("dead")) != 0 { // 6 members and the ticket
			f.Fatalf("%+v, still held %v", got, f.held("dead"))
		}
		tk = *got.HandOvers[0].Delivery.Ticket
		seen := map[int]*Range{}
		for crash := 1; len(seen) < n-3; crash++ {
			worker := fmt.Sprint("w", crash)
			for {
				p := f.pull(worker, tk, 10)
				if p.Status != GotRange {
					break
				}
				for _, m := range p.Range.Members {
					if seen[m.Index] != nil {
						f.Fatalf("member %d twice", m.Index)
					}
					seen[m.Index] = p.Range
				}
			}
		}
		for i := range n {
			r := seen[i]
			switch {
			case i >= 2 && i < 5:
				if r != nil {
					f.Errorf("member %d had ended", i)
				}
			case i == 6:
				if r.Number != 2 || r.Crashes != 0 {
					f.Errorf("member %d, given back before the death: %+v", i, r)
				}
			case i < 10:
				if r.Number != 2 || r.Crashes != 1 {
					f.Errorf("member %d of the dead: %+v", i, r)
				}
			default:
				if r.Number != 1 || r.Crashes != 0 {
					f.Errorf("member %d: %+v", i, r)
				}
			}
		}
	})
}

func TestDecision05_SuspectsLeaveTheirRange(t *testing.T) {
	each(t, func(f *fixture) {
		f.gather("g", 3)
		for crash := range record.Suspect + 1 {
			p := f.pull("w", f.open("g")[0], 3)
			if p.Range.Crashes != min(crash, record.Suspect) || p.Range.Number != int64(crash)+1 || len(p.Range.Members) != 3 {
				f.Fatalf("after %d deaths: %+v", crash, p.Range)
			}
			f.reap(death("w"), 10) // the third is not charged: they do not start in the range
		}
		p := f.pull("w", f.open("g")[0], 3)
		for i := range 3 {
			s, err := f.groups.Apart(f.ctx, "w", p.Range, i)
			f.ok(err)
			id := fmt.Sprintf("g:%d", i)
			if s.HandOver == nil || !s.HandOver.Alone || len(s.HandOver.Delivery.Refs) != 1 || s.HandOver.Delivery.Refs[0].ID != id {
				f.Fatalf("%+v", s)
			}
			number := s.HandOver.Delivery.Refs[0].Number
			if c := f.claim("w", id, number); c.Crashes != record.Suspect || number <= p.Range.Number || string(c.Args[1:]) != fmt.Sprint(i) {
				f.Fatalf("%+v", c)
			}
			if i == 1 {
				_, err := f.records.Begin(f.ctx, "w", record.Ref{ID: id, Number: number})
				f.ok(err)
			}
		}
		got := f.reap(death("w"), 10)
		if got.CrashLoops != 1 || got.Again != 2 || len(got.HandOvers) != 2 || !got.HandOvers[0].Alone || !got.HandOvers[1].Alone {
			f.Fatalf("%+v", got)
		}
		for _, i := range []int{0, 2} {
			in := f.look(fmt.Sprintf("g:%d", i))
			f.claim("v", in.ID, in.Number)
			_, err := f.records.Settle(f.ctx, "v", record.Ref{ID: in.ID, Number: in.Number}, record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte("7")), Attempt: 1})
			f.ok(err)
		}
		outs, err := f.groups.ByIndex(f.ctx, "g", 0, 3)
		f.ok(err)
		for i, o := range outs {
			if want := map[bool]record.State{true: record.CrashLoop, false: record.Succeeded}[i == 1]; o.State != want || o.Attempt != 1 {
				f.Errorf("member %d: %+v", i, o)
			}
		}
		if h, err := f.groups.Head(f.ctx, "g"); err != nil || !h.Barrier || h.State != record.CrashLoop {
			f.Errorf("%+v %v", h, err)
		}
	})
}

func TestDecision36_TicketsOfTheDead(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.gather("g", 2)
		tickets := []record.Ticket{{Group: "g", Nonce: nonce, Place: 0, Number: 1}, {Group: "g", Nonce: nonce, Place: 1, Number: 2}}
		var rs []*Range
		for _, tk := range tickets {
			rs = append(rs, f.pull("dead", tk, 1).Range)
		}
		for _, tk := range f.open("g") { // the other tickets find nothing
			f.pull("w", tk, 1)
		}
		// The tickets first: nothing is unclaimed then, so both are closed. Then the ranges: the first one issues a ticket again.
		for _, item := range []string{"t|g|0", "t|g|1"} {
			if got, err := f.groups.Reap(f.ctx, 0, death("dead"), 10, item); err != nil || len(got.HandOvers) != 0 {
				f.Fatalf("%s: %+v %v", item, got, err)
			}
		}
		var again []record.HandOver
		for _, r := range rs {
			got, err := f.groups.Reap(f.ctx, 0, death("dead"), 10, fmt.Sprintf("x|g|%d", r.ID))
			f.ok(err)
			again = append(again, got.HandOvers...)
		}
		if len(again) != 1 || again[0].Delivery.Ticket == nil || again[0].Delivery.Ticket.Number <= 2 {
			f.Fatalf("%+v", again)
		}
		for range 2 {
			p := f.pull("w", *again[0].Delivery.Ticket, 5)
			f.settle("w", p.Range, f.outcomes(p.Range, record.Succeeded))
		}
		if h, err := f.groups.Head(f.ctx, "g"); err != nil || !h.Barrier {
			f.Fatalf("%+v %v", h, err)
		}
	})
}

// open returns the tickets of a group that nobody holds.
func (f *fixture) open(id string) (tickets []record.Ticket) {
	f.Helper()
	fields, err := f.conn.Redis().HGetAll(f.ctx, f.keys.Record(id)).Result()
	f.ok(err)
	for place := range 32 {
		var number int64
		var rest string
		if n, _ := fmt.Sscanf(fields[fmt.Sprint("t", place)], "%d;%s", &number, &rest); n == 2 && rest[0] == ';' {
			tickets = append(tickets, record.Ticket{Group: id, Nonce: fields["no"], Place: place, Number: number})
		}
	}
	return tickets
}

func TestDecision11_WhatWasToEndEndsWithItsWorker(t *testing.T) {
	each(t, func(f *fixture) {
		why := &record.Failure{Kind: "cancelled", Message: "enough"}
		f.create("cancelled")
		f.claim("dead", "cancelled", 1)
		_, err := f.records.Cancel(f.ctx, "cancelled", why)
		f.ok(err)
		late := record.NewTask{ID: "late", Type: "echo", Queue: "default", Args: record.Wrap([]byte("1")), Digest: []byte("x"), Retention: time.Hour,
			MaxPending: time.Hour, Deadline: time.Now().Add(300 * time.Millisecond)}
		_, err = f.records.Create(f.ctx, late)
		f.ok(err)
		f.claim("dead", "late", 1)
		nonce := f.gather("g", 6)
		f.pull("dead", record.Ticket{Group: "g", Nonce: nonce, Place: 0, Number: 1}, 4)
		_, err = f.groups.Cancel(f.ctx, "g", true, why)
		f.ok(err)
		f.soon("the deadline", func() bool { return f.look("late").Now.After(late.Deadline) })
		if got := f.reap(death("dead"), 2); len(got.HandOvers) != 0 {
			f.Fatalf("%+v", got)
		}
		for id, want := range map[string]record.State{"cancelled": record.Cancelled, "late": record.TimedOut, "g": record.Cancelled} {
			if in := f.look(id); in.State != want {
				f.Errorf("%s: %+v", id, in)
			}
		}
		if h, err := f.groups.Head(f.ctx, "g"); err != nil || !h.Barrier {
			f.Errorf("%+v %v", h, err)
		}
	})
}

func TestReapForgetsWhatIsNotHeld(t *testing.T) {
	each(t, func(f *fixture) {
		f.create("ended")
		f.claim("w", "ended", 1)
		_, err := f.records.Settle(f.ctx, "w", record.Ref{ID: "ended", Number: 1}, record.Outcome{State: record.Succeeded, Attempt: 1})
		f.ok(err)
		f.create("elsewhere")
		f.claim("other", "elsewhere", 1)
		tk := record.Ticket{Group: "g", Nonce: f.gather("g", 2), Place: 0, Number: 1}
		p := f.pull("other", tk, 1)
		stale := []any{"ended", "elsewhere", "unknown", "x|unknown|3", "t|unknown|1", fmt.Sprintf("x|g|%d", p.Range.ID), "t|g|0"}
		f.ok(f.conn.Redis().SAdd(f.ctx, f.keys.Holdings(0, "dead"), stale...).Err())
		if got := f.reap(death("dead"), 3); got.Again != 0 || len(got.HandOvers) != 0 {
			f.Errorf("%+v", got)
		}
		if s := f.settle("other", p.Range, f.outcomes(p.Range, record.Succeeded)); !s.Applied {
			f.Error("a range that another worker holds was taken")
		}
		if p := f.pull("other", tk, 1); p.Status != GotRange {
			f.Error("a ticket that another worker holds was taken")
		}
		if in := f.look("elsewhere"); in.State != record.Running || in.Number != 1 {
			f.Errorf("%+v", in)
		}
	})
}

func TestReapIsBounded(t *testing.T) {
	each(t, func(f *fixture) {
		for i := range 30 {
			id := fmt.Sprint("t", i)
			f.create(id)
			f.claim("dead", id, 1)
		}
		got, err := f.groups.Reap(f.ctx, 0, death("dead"), 7)
		f.ok(err)
		if got.Again != 7 || got.Left != 23 {
			f.Fatalf("%+v", got)
		}
		if rest := f.reap(death("dead"), 1000); rest.Again != 23 || rest.Left != 0 {
			f.Fatalf("%+v", rest)
		}
	})
}

func TestOptionsWriteMaxCrashesAsScriptsReadIt(t *testing.T) {
	b := record.Options{Retries: 3, MaxCrashes: 7}.Encode()
	var o record.Options
	if err := json.Unmarshal(b, &o); err != nil || o.MaxCrashes != 7 || !slices.Contains([]string{`{"r":3,"mc":7}`}, string(b)) {
		t.Errorf("%s: %v", b, err)
	}
}
