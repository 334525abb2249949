package worker

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/record"
)

var ticket = record.Delivery{Ticket: &record.Ticket{Group: "g", Nonce: "s", Number: 1}}

// gather puts n members of a type into f.
func (f *fakeFleet) gather(n int, typ string) {
	for i := range n {
		f.members = append(f.members, group.RangeMember{Index: i, Profile: &group.Profile{Type: typ}, Args: record.Wrap([]byte("1"))})
	}
}

// ends returns how often each member ended, and fails unless each ended once.
func ends(t *testing.T, f *fakeFleet) []told {
	t.Helper()
	got := f.list("settle")
	seen := make(map[string]int)
	for _, x := range got {
		seen[x.id]++
	}
	if len(got) != len(f.members) || len(seen) != len(f.members) {
		t.Errorf("%d ends of %d members, want %d of each", len(got), len(seen), len(f.members))
	}
	return got
}

func TestDecision36_EachMemberRunsOnceUnderSlots(t *testing.T) {
	for _, c := range []struct{ members, slots, tickets int }{{1, 1, 1}, {100, 1, 1}, {1000, 4, 1}, {1000, 4, 8}, {64, 100, 3}} {
		for _, took := range []time.Duration{0, 100 * time.Microsecond, 3 * time.Millisecond, 300 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d members of %s, %d slots, %d tickets", c.members, took, c.slots, c.tickets), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := &fakeFleet{again: true}
					f.gather(c.members, "t")
					var running, most, runs atomic.Int64
					w := newWorker(t, f, c.slots, map[string]Handler{"t": func(context.Context, *Job) Result {
						runs.Add(1)
						n := running.Add(1)
						for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
						}
						time.Sleep(took)
						running.Add(-1)
						return Result{Value: []byte("1")}
					}})
					begin := time.Now()
					for range c.tickets {
						deliver(t, w, ticket)
					}
					w.wg.Wait()
					synctest.Wait()
					ends(t, f)
					if most.Load() > int64(c.slots) || runs.Load() != int64(c.members) {
						t.Errorf("%d runs, %d at once, want %d and at most %d", runs.Load(), most.Load(), c.members, c.slots)
					}
					if w.cfg.Slots.Free() != c.slots || len(w.runs.openRanges()) != 0 || w.runs.size() != 0 {
						t.Errorf("in the end %d slots are free, %d ranges open, %d runs held", w.cfg.Slots.Free(), len(w.runs.openRanges()), w.runs.size())
					}
					ideal := time.Duration((c.members+c.slots-1)/c.slots) * took
					if spent := time.Since(begin); spent > ideal*3/2+50*time.Millisecond {
						t.Errorf("took %s, the slots could do it in %s", spent, ideal)
					}
				})
			})
		}
	}
}

func TestRangesFollowTheMeasurement(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		f.gather(1000, "t")
		w := newWorker(t, f, 4, map[string]Handler{"t": func(context.Context, *Job) Result { return Result{} }})
		deliver(t, w, ticket)
		w.wg.Wait()
		synctest.Wait()
		if f.sizes[0] != 4 || slices.Max(f.sizes) != rangeMax {
			t.Errorf("ranges of %v, want one member for each slot at first and then %d", f.sizes, rangeMax)
		}
	})
}

// One member of a range of short ones is long: the others must not wait for it, nor their outcomes.
func TestAStragglerHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		f.gather(500, "t")
		w := newWorker(t, f, 2, map[string]Handler{"t": func(_ context.Context, j *Job) Result {
			if j.Index == 200 {
				time.Sleep(time.Minute)
			}
			return Result{Value: []byte("1")}
		}})
		begin := time.Now()
		deliver(t, w, ticket)
		time.Sleep(time.Second)
		got := f.list("settle")
		if len(got) != 499 {
			t.Fatalf("%d ended while one ran, want 499", len(got))
		}
		for _, x := range got {
			if x.at.Sub(begin) > 100*time.Millisecond {
				t.Errorf("%s was told after %s", x.id, x.at.Sub(begin))
			}
		}
		w.wg.Wait()
		synctest.Wait()
		ends(t, f)
	})
}

// Members of a millisecond or more are taken for the slots that come free next; where none does, they go back, for other workers.
func TestDecision36_WhoWaitsBehindLongOnesGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		f.gather(100, "t")
		var started atomic.Int64
		w := newWorker(t, f, 4, map[string]Handler{"t": func(_ context.Context, j *Job) Result {
			started.Add(1)
			time.Sleep(time.Duration(2+j.Index%3) * time.Millisecond)
			if j.Index >= 40 && j.Index%2 == 0 {
				time.Sleep(time.Minute)
			}
			return Result{Value: []byte("1")}
		}})
		deliver(t, w, ticket)
		time.Sleep(time.Second)
		back := 0
		for _, x := range f.list("return") {
			back += len(x.indexes)
		}
		ended := len(f.list("settle"))
		f.mu.Lock()
		if n := int(started.Load()); n-ended != 4 || back == 0 || n+back != f.cursor || slices.Max(f.sizes) < 4 {
			t.Errorf("%d ended, %d started, %d went back, of %d taken in ranges of %v", ended, n, back, f.cursor, f.sizes)
		}
		f.mu.Unlock()
		w.wg.Wait()
		synctest.Wait()
	})
}

func TestDecision06_AFailureIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		f.gather(64, "t")
		w := newWorker(t, f, 1, map[string]Handler{"t": func(_ context.Context, j *Job) Result {
			time.Sleep(100 * time.Microsecond)
			switch {
			case j.Index == 40:
				return failed("error", "no")
			case j.Index > 40:
				time.Sleep(2 * time.Millisecond)
			}
			return Result{Value: []byte("1")}
		}})
		begin := time.Now()
		deliver(t, w, ticket)
		w.wg.Wait()
		synctest.Wait()
		got := ends(t, f)
		i := slices.IndexFunc(got, func(x told) bool { return x.failure != nil })
		if want := 41 * 100 * time.Microsecond; got[i].at.Sub(begin) != want {
			t.Errorf("the failure was told after %s, it happened after %s", got[i].at.Sub(begin), want)
		}
		if i != 40 {
			t.Errorf("the failure was recorded as number %d, 40 ended before it", i)
		}
	})
}

func TestSuccessesWaitFiveMillisecondsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		f.gather(200, "t")
		var ended [200]time.Time
		w := newWorker(t, f, 1, map[string]Handler{"t": func(_ context.Context, j *Job) Result {
			time.Sleep(500 * time.Microsecond)
			ended[j.Index] = time.Now()
			return Result{Value: []byte("1")}
		}})
		deliver(t, w, ticket)
		w.wg.Wait()
		synctest.Wait()
		for _, x := range ends(t, f) {
			if late := x.at.Sub(ended[x.out.Index]); late > tickEvery {
				t.Errorf("%s was told %s after its end", x.id, late)
			}
		}
	})
}

func TestMembersThatFailMayRetryAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		f.gather(10, "t")
		for i := range f.members {
			f.members[i].Options = record.Options{Retries: 1}.Encode()
		}
		f.members[4].Type = "unheard"
		f.members[5].Reason = &record.Failure{Kind: "cancelled", Message: "enough"}
		w := newWorker(t, f, 2, map[string]Handler{"t": func(_ context.Context, j *Job) Result {
			switch j.Index {
			case 2:
				runtime.Goexit()
			case 3:
				panic("boom")
			}
			return Result{Value: []byte("1")}
		}})
		deliver(t, w, ticket)
		w.wg.Wait()
		synctest.Wait()
		left := f.list("leave")
		if len(left) != 3 || len(f.list("settle")) != 7 {
			t.Fatalf("%d left and %d ended, want 3 and 7", len(left), len(f.list("settle")))
		}
		for _, x := range left {
			switch {
			case x.id == "g:2" && x.failure.Kind == "goexit", x.id == "g:3" && x.failure.Kind == "panic":
			case x.id == "g:4" && x.failure == nil && x.delay == time.Second:
			default:
				t.Errorf("left: %+v", x)
			}
		}
		for _, x := range f.list("settle") {
			if (x.id == "g:5") != (x.out.State == record.Cancelled) {
				t.Errorf("%s ended %s", x.id, x.out.State)
			}
		}
		if got := w.cfg.Slots.Free(); got != 2 {
			t.Errorf("%d slots free, want 2", got)
		}
	})
}

func TestDecision36_NotYetHoldsNoSlot(t *testing.T) {
	// the pauses double up to the last: 2, 4, 8, 16, 32, 50, 50 ms
	for notYet, want := range map[int]time.Duration{1: notYetFirst, 3: 7 * notYetFirst, 7: 31*notYetFirst + 2*notYetLast} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeFleet{notYet: notYet}
			f.gather(3, "t")
			w := newWorker(t, f, 1, map[string]Handler{"t": func(context.Context, *Job) Result { return Result{} }})
			begin := time.Now()
			deliver(t, w, ticket)
			time.Sleep(want - notYetFirst/2)
			if w.cfg.Slots.Free() != 1 {
				t.Error("a slot is held for a group that is not there yet")
			}
			w.wg.Wait()
			synctest.Wait()
			ends(t, f)
			if took := time.Since(begin); took < want || took > want+notYetLast+2*tickEvery { // a look at who waits begins a pause anew
				t.Errorf("took %s with %d times not yet, want %s", took, notYet, want)
			}
		})
	}
}

func TestDecision36_TheTicketGoesRoundWhereOthersWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		f.gather(300, "t")
		w := newWorker(t, f, 1, map[string]Handler{"t": func(context.Context, *Job) Result { time.Sleep(10 * time.Millisecond); return Result{} }})
		deliver(t, w, ticket)
		time.Sleep(500 * time.Millisecond)
		if got := f.list("pass"); len(got) != 0 {
			t.Errorf("passed on %d times, nobody waits", len(got))
		}
		f.mu.Lock()
		f.waiting, f.kept = 1, true
		f.mu.Unlock()
		time.Sleep(holdLast)
		if kept, passed := len(f.list("keep")), len(f.list("pass")); kept == 0 || passed != 0 {
			t.Errorf("kept %d times, passed on %d times: only tickets of its own group wait", kept, passed)
		}
		f.mu.Lock()
		f.kept = false
		f.mu.Unlock()
		time.Sleep(600 * time.Millisecond)
		if got := f.list("pass"); len(got) != 1 {
			t.Errorf("passed on %d times, somebody waits: want once", len(got))
		}
		if f.cursor == 300 {
			t.Error("the group was worked off all the same")
		}
		w.wg.Wait()
		synctest.Wait()
		if got := len(f.list("settle")); got != f.cursor {
			t.Errorf("%d ended of %d taken", got, f.cursor)
		}
	})
}

func TestDecision11_CancelOfARange(t *testing.T) {
	reason := &record.Failure{Kind: "cancelled", Message: "enough"}
	for name, tell := range map[string]func(w *Worker, f *fakeFleet) error{
		"notice": func(w *Worker, f *fakeFleet) error {
			for id := range f.ranges {
				w.Notice(record.Notice{Kind: 'c', ID: fmt.Sprintf("x|g|%d", id+1), Number: 1, Reason: reason})
			}
			return nil
		},
		"notices of members": func(w *Worker, f *fakeFleet) error {
			for i := range f.cursor {
				w.Notice(record.Notice{Kind: 'c', ID: fmt.Sprintf("g:%d", i), Number: 1, Reason: reason})
			}
			return nil
		},
		"beat": func(w *Worker, f *fakeFleet) error {
			f.rflags = make(map[int64]group.RangeFlag)
			for id := range f.ranges {
				f.rflags[id+1] = group.RangeFlag{Reason: reason}
			}
			return w.Ask(context.Background())
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFleet{}
				f.gather(4, "t")
				w := newWorker(t, f, 4, map[string]Handler{"t": untilDone})
				deliver(t, w, ticket)
				synctest.Wait()
				if err := tell(w, f); err != nil {
					t.Fatal(err)
				}
				w.wg.Wait()
				synctest.Wait()
				for _, x := range ends(t, f) {
					if x.out.State != record.Cancelled || x.failure.Message != "enough" {
						t.Errorf("%s ended %s, %+v", x.id, x.out.State, x.failure)
					}
				}
			})
		})
	}
}

// Whatever members do, and whenever the drain comes, each is ended, left or returned once, and all slots come back.
func TestMembersAreNeverLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		kinds := rapid.SliceOfN(rapid.SampledFrom([]string{"value", "error", "retry", "panic", "goexit", "long", "short", "cancelled"}), 1, 120).Draw(rt, "members")
		slots := rapid.IntRange(1, 6).Draw(rt, "slots")
		tickets := rapid.IntRange(1, 3).Draw(rt, "tickets")
		drainAt := time.Duration(rapid.IntRange(0, 50).Draw(rt, "drain at ms")) * time.Millisecond
		synctest.Test(t, func(t *testing.T) {
			f := &fakeFleet{}
			f.gather(len(kinds), "t")
			for i, k := range kinds {
				if k == "retry" {
					f.members[i].Options = record.Options{Retries: 1}.Encode()
				}
			}
			w := newWorker(t, f, slots, map[string]Handler{"t": func(ctx context.Context, j *Job) Result {
				switch kinds[j.Index] {
				case "error", "retry":
					return failed("error", "no")
				case "panic":
					panic("boom")
				case "goexit":
					runtime.Goexit()
				case "long":
					return untilDone(ctx, j)
				case "short":
					time.Sleep(time.Millisecond)
				case "cancelled":
					return failed("cancelled", "")
				}
				return Result{Value: []byte("1")}
			}})
			for range tickets {
				ctx, stop := context.WithTimeout(t.Context(), time.Second)
				if w.cfg.Slots.Gate().Acquire(ctx) == nil {
					if err := w.Deliver("q", ticket.Encode()); err != nil {
						rt.Error(err)
					}
				}
				stop()
			}
			time.Sleep(drainAt)
			if err := w.Drain(); err != nil {
				rt.Fatal(err)
			}
			synctest.Wait()
			seen := make(map[string]int)
			for _, x := range f.all() {
				switch x.what {
				case "settle", "leave":
					seen[x.id]++
				case "return":
					for _, i := range x.indexes {
						seen[fmt.Sprintf("g:%d", i)]++
					}
				}
			}
			for i := range f.cursor {
				if n := seen[fmt.Sprintf("g:%d", i)]; n != 1 {
					rt.Errorf("member %d (%s) was told %d times", i, kinds[i], n)
				}
			}
			if len(seen) != f.cursor || w.cfg.Slots.Free() != slots || w.runs.size() != 0 || len(w.runs.openRanges()) != 0 {
				rt.Errorf("%d of %d told, %d of %d slots free, %d held, %d ranges open", len(seen), f.cursor, w.cfg.Slots.Free(), slots, w.runs.size(), len(w.runs.openRanges()))
			}
		})
	})
}
