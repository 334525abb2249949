package worker

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/record"
)

func suspect(c *record.Claim) { c.Crashes = record.Suspect }

func TestDecision05_OneSuspectRunsAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		running, most := 0, 0
		long := make(chan struct{})
		w := newWorker(t, f, 20, map[string]Handler{"t": func(_ context.Context, j *Job) Result {
			if j.Crashes >= record.Suspect {
				running++
				most = max(most, running)
				defer func() { running-- }()
			}
			if j.ID == "long" {
				<-long
			}
			return Result{Value: []byte("1")}
		}})
		for i := range 5 { // they run one after the other, and none has to go back
			deliver(t, w, f.task(fmt.Sprint("s", i), suspect))
		}
		synctest.Wait()
		if n, begun := len(f.list("settle")), len(f.list("begin")); n != 5 || begun != 5 || most != 1 || len(f.list("giveback")) != 0 {
			t.Fatalf("%d settled, %d begun, %d at once, given back: %+v", n, begun, most, f.list("giveback"))
		}
		deliver(t, w, f.task("long", suspect))
		deliver(t, w, f.task("plain", nil))
		time.Sleep(20 * time.Second)
		deliver(t, w, f.task("second", suspect))
		time.Sleep(suspectWait + time.Millisecond)
		synctest.Wait()
		back := f.list("giveback")
		if len(back) != 1 || back[0].id != "second" || back[0].delay < 10*time.Second || back[0].delay > 40*time.Second || back[0].unknown {
			t.Fatalf("given back %+v, want the second, for about as long as the first has run", back)
		}
		if n := len(f.list("settle")); n != 6 || w.cfg.Slots.Free() != 19 {
			t.Errorf("%d settled, %d slots free: a suspect must hold up nobody else", n, w.cfg.Slots.Free())
		}
		for _, b := range f.list("begin") {
			if b.id == "second" || b.id == "plain" {
				t.Errorf("%s was noted as begun", b.id)
			}
		}
		close(long)
		deliver(t, w, f.task("third", suspect))
		synctest.Wait()
		if n := len(f.list("settle")); n != 8 {
			t.Errorf("%d settled, want the long one and the third", n)
		}
	})
}

// One that has ended is charged with the next one's crash as long as the record does not know its end.
func TestDecision05_ASuspectBeginsWhenTheEndOfTheOneBeforeIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{telling: 10 * time.Millisecond}
		w := newWorker(t, f, 8, map[string]Handler{"t": func(_ context.Context, j *Job) Result {
			switch j.ID {
			case "retried":
				return Result{Failure: &record.Failure{Kind: "error"}}
			case "gone":
				runtime.Goexit()
			}
			return Result{Value: []byte("1")}
		}})
		for _, id := range []string{"a", "retried", "gone", "b"} {
			deliver(t, w, f.task(id, func(c *record.Claim) {
				suspect(c)
				c.Options = record.Options{Retries: 2}.Encode()
			}))
		}
		time.Sleep(time.Second)
		var open string
		all := f.all()
		for _, x := range all {
			switch {
			case x.what == "begin" && open == "":
				open = x.id
			case x.what != "begin" && open == x.id:
				open = ""
			default:
				t.Errorf("%s of %q while %q is open", x.what, x.id, open)
			}
		}
		if len(all) != 8 || open != "" {
			t.Errorf("told %+v", all)
		}
	})
}

// A suspect whose handler ignores its end keeps its slot, not the turn. While it runs a death does not tell which one it was, so those that
// run beside it are not noted as begun: they would be charged with its crash, and one that did nothing could end by it.
func TestDecision05_AnAbandonedSuspectHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		end := make(chan struct{})
		w := newWorker(t, f, 4, map[string]Handler{"t": func(_ context.Context, j *Job) Result {
			if j.ID == "stuck" {
				<-end
				runtime.Goexit()
			}
			return Result{Value: []byte("1")}
		}})
		deliver(t, w, f.task("stuck", func(c *record.Claim) {
			suspect(c)
			c.Options = record.Options{TimeoutMS: 5000, GraceMS: new(int64(1000))}.Encode()
		}))
		time.Sleep(5 * time.Second)
		deliver(t, w, f.task("early", suspect))
		time.Sleep(suspectWait + time.Millisecond)
		if back := f.list("giveback"); len(back) != 1 || back[0].id != "early" {
			t.Fatalf("in the grace of the first: given back %+v", back)
		}
		time.Sleep(time.Second)
		deliver(t, w, f.task("beside", suspect))
		deliver(t, w, f.task("beside too", suspect))
		synctest.Wait()
		if n, s := len(f.list("settle")), w.Stats(); n != 3 || s.Stuck != 1 || w.cfg.Slots.Free() != 3 || len(f.list("giveback")) != 1 {
			t.Errorf("%d settled, %+v, %d slots free, given back %+v", n, s, w.cfg.Slots.Free(), f.list("giveback"))
		}
		close(end)
		synctest.Wait()
		deliver(t, w, f.task("after", suspect))
		synctest.Wait()
		var begun []string
		for _, b := range f.list("begin") {
			begun = append(begun, b.id)
		}
		if want := []string{"stuck", "after"}; !slices.Equal(begun, want) || len(f.list("settle")) != 4 || w.cfg.Slots.Free() != 4 {
			t.Errorf("begun %v, want %v; %d settled, %d slots free", begun, want, len(f.list("settle")), w.cfg.Slots.Free())
		}
	})
}

func TestDecision05_ASuspectThatIsNotOursDoesNotStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{fenced: true}
		w := newWorker(t, f, 2, map[string]Handler{"t": func(context.Context, *Job) Result {
			t.Error("it ran")
			return Result{}
		}})
		deliver(t, w, f.task("s", suspect))
		synctest.Wait()
		if s := w.Stats(); s.Fenced != 1 || len(f.list("settle")) != 0 || w.cfg.Slots.Free() != 2 {
			t.Errorf("%+v, told %+v", s, f.all())
		}
		f.mu.Lock()
		f.fenced, f.beginless = false, true // and one whose begin cannot be noted goes back
		f.mu.Unlock()
		deliver(t, w, f.task("s2", suspect))
		time.Sleep(time.Minute)
		synctest.Wait()
		if back := f.list("giveback"); len(back) != 1 || back[0].id != "s2" || w.cfg.Slots.Free() != 2 {
			t.Errorf("told %+v", f.all())
		}
	})
}

func TestDecision05_ADrainDoesNotWaitForASuspectsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 4, map[string]Handler{"t": untilDone})
		deliver(t, w, f.task("first", suspect))
		synctest.Wait()
		deliver(t, w, f.task("second", suspect))
		synctest.Wait()
		w.Stop()
		synctest.Wait()
		if back := f.list("giveback"); len(back) != 1 || back[0].id != "second" || back[0].delay != 0 {
			t.Errorf("given back: %+v", back)
		}
		w.Abort()
		_ = w.Drain() // it was aborted
	})
}

func TestDecision05_SuspectsLeaveTheirRangeBeforeTheyStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{crashes: record.Suspect}
		for i := range 3 {
			f.members = append(f.members, group.RangeMember{Index: i, Profile: &group.Profile{Type: "t"}, Args: record.Wrap([]byte("1"))})
		}
		w := newWorker(t, f, 4, map[string]Handler{"t": func(context.Context, *Job) Result {
			t.Error("it ran")
			return Result{}
		}})
		deliver(t, w, record.Delivery{Ticket: &record.Ticket{Group: "g", Nonce: "n", Number: 1}})
		synctest.Wait()
		var ids []string
		for _, a := range f.list("apart") {
			ids = append(ids, a.id)
		}
		slices.Sort(ids)
		if !slices.Equal(ids, []string{"g:0", "g:1", "g:2"}) || w.cfg.Slots.Free() != 4 || len(w.Holdings()) != 0 {
			t.Errorf("taken out: %v; held: %v", ids, w.Holdings())
		}
	})
}

func TestDecision03_HoldingsAreWhatIsInThisWorkersHands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{members: []group.RangeMember{{Index: 0, Profile: &group.Profile{Type: "t"}, Args: record.Wrap([]byte("1"))}}}
		end := make(chan struct{})
		w := newWorker(t, f, 4, map[string]Handler{"t": func(context.Context, *Job) Result { <-end; return Result{Value: []byte("1")} }})
		deliver(t, w, f.task("a", nil))
		f.notYet = 1
		deliver(t, w, record.Delivery{Ticket: &record.Ticket{Group: "g", Nonce: "n", Place: 3, Number: 1}})
		want := func(items ...string) {
			t.Helper()
			synctest.Wait()
			got := w.Holdings()
			if len(got) != len(items) {
				t.Errorf("held: %v, want %v", got, items)
			}
			for _, item := range items {
				if _, ok := got[item]; !ok {
					t.Errorf("held: %v, want %v", got, items)
				}
			}
		}
		want("a", "t|g|3")
		time.Sleep(4 * notYetLast)
		want("a", "x|g|1") // it took the last member, and the next pull said that the ticket is used up
		close(end)
		want()
	})
}
