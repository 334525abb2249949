package inbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

func whole(id string) record.Interest { return record.Interest{ID: id, View: record.Whole} }

// waitFor awaits apart and returns what to call for the result.
func waitFor(b *Inbox, ctx context.Context, in record.Interest) func() (*record.Answer, error) { //nolint:revive // the inbox is the subject
	type result struct {
		a   *record.Answer
		err error
	}
	c := make(chan result, 1)
	go func() {
		a, err := b.Wait(ctx, in)
		c <- result{a, err}
	}()
	return func() (*record.Answer, error) { r := <-c; return r.a, r.err }
}

func TestNoticeWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.begin("a")
		got := waitFor(b, t.Context(), whole("a"))
		synctest.Wait()
		begin := time.Now()
		w.endTask("a")
		a, err := got()
		if err != nil || a.Status != record.HasEnded || a.Outcome.State != record.Succeeded || time.Since(begin) != 0 {
			t.Fatalf("%+v, %v after %v", a, err, time.Since(begin))
		}
	})
}

// TestNoticeCarriesTheOutcome: no read follows a notice that says everything.
func TestNoticeCarriesTheOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.begin("a")
		got := waitFor(b, t.Context(), whole("a"))
		synctest.Wait()
		before := w.flights()
		w.channel.send(Event{Kind: Message, Payload: pack("t", "a", "succeeded", "\x0042", "", "1", "7", "w1", "echo", "1000", "2000", "3000")})
		a, err := got()
		if err != nil || string(a.Outcome.Value) != "\x0042" || a.Outcome.Delivery != 7 || a.Outcome.Type != "echo" {
			t.Fatalf("%+v, %v", a, err)
		}
		if n := w.flights(); n != before {
			t.Errorf("%d looks followed", n-before)
		}
	})
}

func TestLostNoticeIsFoundByTheSafetyCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.mute = true
		w.begin("a")
		got := waitFor(b, t.Context(), whole("a"))
		time.Sleep(1234 * time.Millisecond)
		w.endTask("a")
		begin := time.Now()
		if a, err := got(); err != nil || a.Status != record.HasEnded {
			t.Fatalf("%+v, %v", a, err)
		}
		if d := time.Since(begin); d > CheckEvery {
			t.Errorf("it took %v", d)
		}
		synctest.Wait()
		s := b.Stats()
		w.set(func() {
			if s.Lost != 1 || w.pings != 1 || w.opened != 1 {
				t.Errorf("lost %d, %d pings, %d subscriptions; want one each", s.Lost, w.pings, w.opened)
			}
		})
	})
}

// TestSilentSubscriptionIsReplaced: a connection that is half open loses notices and answers no ping.
func TestSilentSubscriptionIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.begin("a", "b")
		got, last := waitFor(b, t.Context(), whole("a")), waitFor(b, t.Context(), whole("b"))
		synctest.Wait()
		w.set(func() { w.channel.silent, w.mute = true, true })
		w.endTask("a")
		_, _ = got()
		time.Sleep(2*CheckEvery + time.Second)
		synctest.Wait()
		w.set(func() {
			if w.opened != 2 {
				t.Errorf("%d subscriptions", w.opened)
			}
		})
		w.set(func() { w.mute = false })
		begin := time.Now()
		w.endTask("b")
		if _, err := last(); err != nil || time.Since(begin) != 0 {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}

func TestReconnectLooksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		ids := make([]string, 30)
		var waits []func() (*record.Answer, error)
		for i := range ids {
			ids[i] = fmt.Sprint("a", i)
		}
		w.begin(ids...)
		for _, id := range ids {
			waits = append(waits, waitFor(b, t.Context(), whole(id)))
		}
		time.Sleep(100 * time.Millisecond)
		w.set(func() { w.mute = true })
		for _, id := range ids {
			w.endTask(id)
		}
		begin := time.Now()
		w.channel.send(Event{}) // the connection breaks
		for _, got := range waits {
			if a, err := got(); err != nil || a.Status != record.HasEnded {
				t.Fatalf("%+v, %v", a, err)
			}
		}
		if d := time.Since(begin); d > 200*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		if s := b.Stats(); s.Reconnects != 1 {
			t.Errorf("%d reconnects", s.Reconnects)
		}
	})
}

func TestPatience(t *testing.T) {
	for _, c := range []struct {
		name     string
		ever     bool
		hang     bool
		patience time.Duration
		want     time.Duration
	}{
		{"never answered", false, false, time.Minute, 5 * time.Second},
		{"never answered, hangs", false, true, time.Minute, 5 * time.Second},
		{"never answered, short patience", false, false, time.Second, time.Second},
		{"answered before", true, false, time.Minute, time.Minute},
		{"answered before, hangs", true, true, time.Minute, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				b := w.inbox(c.patience)
				defer b.Close()
				if c.ever {
					w.heard()
				}
				time.Sleep(10 * time.Minute) // idle: nobody asked, so nothing was amiss
				w.set(func() { w.down, w.hang = !c.hang, c.hang })
				begin := time.Now()
				_, err := b.Wait(t.Context(), whole("a"))
				u, ok := errors.AsType[*UnavailableError](err)
				if !ok {
					t.Fatalf("%v", err)
				}
				want := c.want
				if c.hang && !c.ever { // the hanging Redis confirmed the subscription: it has answered
					want = c.patience
				}
				if d := time.Since(begin); d < want || d > want+CheckEvery {
					t.Errorf("%v after %v, want %v", u, d, want)
				}
				if !c.hang && !errors.Is(err, errDown) {
					t.Errorf("%v does not say what was met", err)
				}
			})
		})
	}
}

// TestOutageWithinPatience: an await outlasts an outage and starts its patience anew.
func TestOutageWithinPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.begin("a")
		got := waitFor(b, t.Context(), whole("a"))
		time.Sleep(time.Second)
		for range 3 {
			w.set(func() { w.down = true })
			time.Sleep(50 * time.Second)
			w.set(func() { w.down = false })
			time.Sleep(5 * time.Second)
		}
		w.endTask("a")
		if a, err := got(); err != nil || a.Status != record.HasEnded {
			t.Fatalf("%+v, %v", a, err)
		}
	})
}

func TestUnknownExpiredLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		begin := time.Now()
		if a, err := b.Wait(t.Context(), whole("nobody")); err != nil || a.Status != record.IsUnknown || time.Since(begin) != 0 {
			t.Errorf("unknown: %+v, %v after %v", a, err, time.Since(begin))
		}
		w.set(func() { w.records["old"] = record.Answer{Status: record.IsExpired} })
		if a, err := b.Wait(t.Context(), whole("old")); err != nil || a.Status != record.IsExpired {
			t.Errorf("expired: %+v, %v", a, err)
		}
		w.begin("a")
		got := waitFor(b, t.Context(), whole("a"))
		synctest.Wait()
		w.set(func() { clear(w.records) }) // FLUSHALL
		if a, err := got(); err != nil || a.Status != record.HasEnded || a.Outcome.State != record.Lost {
			t.Errorf("lost: %+v, %v", a, err)
		}
	})
}

// TestUnknownIsNotForWhoCameLater: a look that left before the task was created says nothing to who awaits it afterwards.
func TestUnknownIsNotForWhoCameLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.begin("warm")
		warm := waitFor(b, t.Context(), whole("warm"))
		synctest.Wait()
		w.set(func() { w.delay = 50 * time.Millisecond })
		early := waitFor(b, t.Context(), whole("a"))
		time.Sleep(10 * time.Millisecond)
		w.begin("a") // while "unknown" is on its way
		late := waitFor(b, t.Context(), whole("a"))
		if a, err := early(); err != nil || a.Status != record.IsUnknown {
			t.Errorf("early: %+v, %v", a, err)
		}
		time.Sleep(200 * time.Millisecond)
		w.endTask("a")
		if a, err := late(); err != nil || a.Status != record.HasEnded {
			t.Errorf("late: %+v, %v", a, err)
		}
		w.endTask("warm")
		_, _ = warm()
	})
}

// TestEndDuringTheLook: the notice overtakes the answer "waiting".
func TestEndDuringTheLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.begin("a")
		w.delay = 100 * time.Millisecond
		got := waitFor(b, t.Context(), whole("a"))
		time.Sleep(50 * time.Millisecond)
		w.endTask("a")
		begin := time.Now()
		if a, err := got(); err != nil || a.Status != record.HasEnded || time.Since(begin) > 200*time.Millisecond {
			t.Fatalf("%+v, %v after %v", a, err, time.Since(begin))
		}
	})
}

func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.set(func() { w.records["g"] = record.Answer{Done: 3, Members: 10} })
		a, err := b.Wait(t.Context(), record.Interest{ID: "g", View: record.ProgressView, After: 2})
		if err != nil || a.Done != 3 || a.Members != 10 {
			t.Fatalf("there already: %+v, %v", a, err)
		}
		// Redis keeps one registration for an inbox: the least.
		four := waitFor(b, t.Context(), record.Interest{ID: "g", View: record.ProgressView, After: 4})
		synctest.Wait()
		three := waitFor(b, t.Context(), record.Interest{ID: "g", View: record.ProgressView, After: 3})
		synctest.Wait()
		w.set(func() {
			if !w.waiting[record.Interest{ID: "g", View: record.ProgressView, After: 3}] {
				t.Error("the smaller one is not registered")
			}
		})
		progress := func(done int) {
			w.set(func() { w.records["g"] = record.Answer{Done: done, Members: 10} })
			w.channel.send(Event{Kind: Message, Payload: pack("p", "g", fmt.Sprint(done))})
		}
		progress(4)
		if a, err := three(); err != nil || a.Done != 4 {
			t.Fatalf("%+v, %v", a, err)
		}
		synctest.Wait()
		progress(5)
		if a, err := four(); err != nil || a.Done != 5 {
			t.Fatalf("%+v, %v", a, err)
		}
	})
}

func TestOverdueIsSweptOnceAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.set(func() { w.records["g"] = record.Answer{Members: 10, Overdue: true} })
		a, err := b.Wait(t.Context(), record.Interest{ID: "g", View: record.BarrierView})
		w.set(func() {
			if err != nil || a.Outcome.State != record.TimedOut || len(w.swept) != 1 {
				t.Errorf("%+v, %v, swept %v", a, err, w.swept)
			}
		})
	})
}

func TestErrorReplyEndsTheAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		noperm := errors.New("NOPERM no permissions")
		b := w.inbox(time.Minute)
		b.cfg.Watch = func(context.Context, string, []record.Interest) ([]record.Answer, []int, error) {
			return nil, []int{0}, noperm
		}
		defer b.Close()
		if _, err := b.Wait(t.Context(), whole("a")); !errors.Is(err, noperm) {
			t.Fatal(err)
		}
	})
}

// TestDecision40_WaitEndsWithItsContext also while Redis hangs, and with the context's cause.
func TestDecision40_WaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		w.hang = true
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, cause)
		defer cancel()
		begin := time.Now()
		_, err := b.Wait(ctx, whole("a"))
		if err != cause || time.Since(begin) != 200*time.Millisecond { //nolint:errorlint // as it is
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if s := b.Stats(); s.Open != 0 {
			t.Errorf("%d still open", s.Open)
		}
		if _, err := b.Wait(ctx, whole("a")); err != cause { //nolint:errorlint // as it is
			t.Errorf("with an ended context: %v", err)
		}
		b.Close()
	})
}

func TestCloseEndsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which fails when a goroutine is left
		w := newWorld()
		b := w.inbox(time.Minute)
		w.begin("a")
		var waits []func() (*record.Answer, error)
		for range 50 {
			waits = append(waits, waitFor(b, context.Background(), whole("a")))
		}
		synctest.Wait()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		for _, got := range waits {
			if _, err := got(); !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
		}
		if _, err := b.Wait(context.Background(), whole("a")); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if !w.channel.Closed() {
			t.Error("the subscription is left")
		}
	})
	synctest.Test(t, func(*testing.T) { newWorld().inbox(time.Minute).Close() })
}

// TestIdleSendsNothing, and a thousand awaits ask once every two seconds.
func TestIdleSendsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range 1000 {
			id := fmt.Sprint("a", i)
			w.begin(id)
			all.Go(func() { _, _ = b.Wait(ctx, whole(id)) })
		}
		synctest.Wait()
		before := w.flights()
		time.Sleep(10 * time.Second)
		if n := w.flights() - before; n > 6 {
			t.Errorf("%d flights in 10 s", n)
		}
		synctest.Wait()
		w.set(func() {
			for _, f := range w.watches[before:] {
				if len(f) != 1000 {
					t.Errorf("a flight of %d", len(f))
				}
			}
		})
		cancel()
		all.Wait()
		before = w.flights()
		time.Sleep(time.Hour)
		if n := w.flights() - before; n != 0 || b.Stats().Open != 0 {
			t.Errorf("idle: %d flights, %+v", n, b.Stats())
		}
	})
}

// TestManyAreCheckedInParts: the safety check of thousands goes out in bounded flights, and what is asked for meanwhile goes before
// the rest of it.
func TestManyAreCheckedInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		const n = 5500
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for i := range n {
			id := fmt.Sprint("a", i)
			w.begin(id)
			all.Go(func() { _, _ = b.Wait(ctx, whole(id)) })
		}
		synctest.Wait()
		time.Sleep(CheckEvery / 2)
		w.set(func() { w.watches, w.delay = nil, 20*time.Millisecond })
		time.Sleep(CheckEvery/2 + 10*time.Millisecond) // the first part is on its way
		w.begin("new")
		fresh := waitFor(b, t.Context(), whole("new"))
		synctest.Wait()
		var told string // of one that stands among the checks
		w.set(func() {
			first := map[string]bool{}
			for _, in := range w.watches[0] {
				first[in.ID] = true
			}
			for i := 0; told == ""; i++ {
				if id := fmt.Sprint("a", i); !first[id] {
					told = id
				}
			}
			w.channel.send(Event{Kind: Message, Payload: pack("t", told)})
		})
		time.Sleep(CheckEvery / 2)
		w.set(func() {
			seen := map[string]int{}
			for i, f := range w.watches {
				if len(f) > mostInFlight {
					t.Errorf("flight %d looks at %d", i, len(f))
				}
				for _, in := range f {
					seen[in.ID]++
				}
			}
			if len(w.watches) != 6 || len(seen) != n+1 {
				t.Errorf("%d flights, %d looked at", len(w.watches), len(seen))
			}
			for id, times := range seen {
				if times != 1 {
					t.Errorf("%s was looked at %d times", id, times)
				}
			}
			second := []string{w.watches[1][0].ID, w.watches[1][1].ID}
			if second[0] != "new" || second[1] != told {
				t.Errorf("the second flight begins with %v", second)
			}
		})
		w.endTask("new")
		if a, err := fresh(); err != nil || a.Status != record.HasEnded {
			t.Errorf("%+v, %v", a, err)
		}
		cancel()
		all.Wait()
	})
}

// TestManyWaitForOne: they come and go in any order, and those that stay are told in the order in which they came.
func TestManyWaitForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.begin("a")
		const n = 100
		told := make(chan Told, n)
		var stops []func()
		for i := range n {
			stops = append(stops, b.Watch([]record.Interest{whole("a")}, []int{i}, told))
		}
		synctest.Wait()
		for _, i := range rand.Perm(n) {
			if i%3 > 0 || i == 0 || i == 99 {
				stops[i]()
				stops[i]()
			}
		}
		w.endTask("a")
		synctest.Wait()
		close(told)
		next := 3
		for got := range told {
			if got.Place != next || got.Err != nil {
				t.Fatalf("%d was told, %v; want %d", got.Place, got.Err, next)
			}
			next += 3
		}
		if next != 99 || b.Stats().Open != 0 {
			t.Errorf("ended before %d, %d are open", next, b.Stats().Open)
		}
	})
}

// TestArrivalOrder: those that have ended already come in the order in which they were named.
func TestArrivalOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		b := w.inbox(time.Minute)
		defer b.Close()
		w.begin("open")
		for _, id := range []string{"c", "a", "b"} {
			w.endTask(id)
		}
		told := make(chan Told, 5)
		stop := b.Watch([]record.Interest{whole("a"), whole("open"), whole("b"), whole("c"), whole("a")}, []int{10, 11, 12, 13, 14}, told)
		synctest.Wait()
		w.endTask("open")
		synctest.Wait()
		stop()
		close(told)
		var order []int
		for got := range told {
			order = append(order, got.Place)
		}
		if got := strings.Trim(fmt.Sprint(order), "[]"); got != "10 14 12 13 11" {
			t.Errorf("order %s", got)
		}
	})
}

func TestMemoryOfAnAwait(t *testing.T) {
	w := newWorld()
	b := w.inbox(time.Minute)
	const n = 10_000
	ctx, cancel := context.WithCancel(t.Context())
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprint("a", i)
	}
	w.begin(ids...)
	w.waiting = make(map[record.Interest]bool, n)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var all sync.WaitGroup
	for _, id := range ids {
		all.Go(func() { _, _ = b.Wait(ctx, whole(id)) })
	}
	deadline := time.Now().Add(10 * time.Second)
	for b.Stats().Open < n && time.Now().Before(deadline) {
		runtime.Gosched()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc + after.StackInuse - before.HeapAlloc - before.StackInuse) / n
	t.Logf("%d bytes an await, %d of its goroutine's stack", each, (after.StackInuse-before.StackInuse)/n)
	if each > 8<<10 {
		t.Errorf("%d bytes an await", each)
	}
	cancel()
	all.Wait()
	b.Close()
}
