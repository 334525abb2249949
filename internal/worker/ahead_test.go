package worker

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// aheadRun is a fake fleet whose pulls take a while, and when its members began.
type aheadRun struct {
	*fakeFleet
	w     *Worker
	began map[int]time.Time // guarded by the fake's mu
}

// gatherSlowly works a gather off, or begins to, whose members run as long as lasts says.
func gatherSlowly(t *testing.T, f *fakeFleet, n, slots, tickets int, lasts func(index int) time.Duration) *aheadRun {
	t.Helper()
	a := &aheadRun{fakeFleet: f, began: make(map[int]time.Time)}
	f.pulling = 4 * time.Millisecond
	f.gather(n, "t")
	a.w = newWorker(t, f, slots, map[string]Handler{"t": func(_ context.Context, j *Job) Result {
		f.mu.Lock()
		a.began[j.Index] = time.Now()
		f.mu.Unlock()
		time.Sleep(lasts(j.Index))
		return Result{Value: []byte("1")}
	}, "single": func(context.Context, *Job) Result {
		time.Sleep(30 * time.Millisecond)
		return Result{Value: []byte("1")}
	}})
	for range tickets {
		deliver(t, a.w, ticket)
	}
	return a
}

func always(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }

// A slot waits for a pull at the start, and after the first members, whose time nobody knew; then never, whoever has the ticket.
func TestLongMembersFollowWithoutAPause(t *testing.T) {
	for _, tickets := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			a := gatherSlowly(t, &fakeFleet{again: true}, 80, 4, tickets, always(100*time.Millisecond))
			a.w.wg.Wait()
			synctest.Wait()
			ends(t, a.fakeFleet)
			if took := time.Since(begin); took < 2*time.Second || took > 2*time.Second+5*a.pulling {
				t.Errorf("%d tickets: took %s, the slots need 2 s and a pull 4 ms", tickets, took)
			}
			for i, began := range a.began {
				if early := began.Sub(a.taken[i]); early > 2*aheadMost {
					t.Errorf("%d tickets: member %d was taken %s before it began", tickets, i, early)
				}
			}
		})
	}
}

func TestDecision28_NothingIsTakenAheadOfACappedGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := gatherSlowly(t, &fakeFleet{capped: true}, 40, 4, 2, always(100*time.Millisecond))
		a.w.wg.Wait()
		synctest.Wait()
		ends(t, a.fakeFleet)
		for i, began := range a.began {
			if !began.Equal(a.taken[i]) {
				t.Errorf("member %d was taken %s before it began", i, began.Sub(a.taken[i]))
			}
		}
	})
}

// What was taken for a slot that does not come free goes back, and nothing is taken for that slot again.
func TestDecision36_WhoWasTakenAheadInVainGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := gatherSlowly(t, &fakeFleet{}, 60, 4, 1, func(i int) time.Duration {
			if i >= 20 {
				return time.Minute
			}
			return 100 * time.Millisecond
		})
		time.Sleep(10 * time.Second)
		back := 0
		for _, x := range a.list("return") {
			back += len(x.indexes)
			if waited := x.at.Sub(a.taken[x.indexes[0]]); waited > stalledAfter+2*stallAfter {
				t.Errorf("%d went back after %s", x.indexes, waited)
			}
		}
		a.mu.Lock()
		if running := len(a.began) - 20; running != 4 || back == 0 || back > 4 || a.cursor != len(a.began)+back {
			t.Errorf("%d run, %d were taken and %d went back", running, a.cursor, back)
		}
		a.mu.Unlock()
		a.w.wg.Wait()
		synctest.Wait()
	})
}

// A single task that comes meanwhile has the slot first.
func TestDecision36_ASingleTaskGoesBeforeWhatWasTakenAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		task := f.task("one", func(c *record.Claim) { c.Type = "single" })
		a := gatherSlowly(t, f, 10, 1, 1, always(100*time.Millisecond))
		time.Sleep(2*(100+4)*time.Millisecond - 8*time.Millisecond) // the second member is about to end, the third is here
		a.mu.Lock()
		if a.cursor != 3 {
			t.Errorf("%d members were taken, want 3", a.cursor)
		}
		a.mu.Unlock()
		asked := time.Now()
		deliver(t, a.w, task)
		if waited := time.Since(asked); waited > 10*time.Millisecond {
			t.Errorf("the task waited %s for a slot", waited)
		}
		a.w.wg.Wait()
		synctest.Wait()
		if n := len(f.list("settle")); n != 11 {
			t.Errorf("%d have ended, want 10 members and a task", n)
		}
	})
}
