package inbox

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// create is a creation that registers the inbox along the way, if that wants to.
func (w *world) create(t *testing.T, b *Inbox, id string) (expected bool) {
	t.Helper()
	inbox := b.Expect(id)
	w.begin(id)
	if inbox == "" {
		return false
	}
	w.set(func() { w.waiting[whole(id)] = true })
	b.Created(id, true)
	return true
}

// awaiting has an await in flight, so that its inbox hears notices.
func awaiting(t *testing.T, w *world) *Inbox {
	t.Helper()
	b := w.inbox(time.Minute)
	t.Cleanup(func() { b.Close() })
	w.begin("first")
	waitFor(b, t.Context(), whole("first"))
	synctest.Wait()
	return b
}

const (
	small = "\x0042" // a value that travels in a notice
	tells = "succeeded"
)

// tell sends a notice with the outcome inside.
func (w *world) tell(id string) {
	w.endTask(id) // its own notice has no outcome: the channel is muted for it
	w.channel.send(Event{Kind: Message, Payload: pack("t", id, tells, small, "", "1", "7", "w1", "echo", "1000", "2000", "3000")})
}

func TestExpectedIsAwaitedWithoutAsking(t *testing.T) {
	for _, order := range []string{"await first", "end first"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			b := awaiting(t, w)
			w.set(func() { w.mute = true })
			if !w.create(t, b, "a") {
				t.Fatal("it expects nothing")
			}
			before := w.flights()
			if order == "end first" {
				w.tell("a")
				synctest.Wait()
			}
			got := waitFor(b, t.Context(), whole("a"))
			synctest.Wait()
			if order == "await first" {
				w.tell("a")
			}
			begin := time.Now()
			a, err := got()
			if err != nil || string(a.Outcome.Value) != small || time.Since(begin) != 0 {
				t.Fatalf("%s: %+v, %v after %v", order, a, err, time.Since(begin))
			}
			if n := w.flights(); n != before {
				t.Errorf("%s: it asked %d times", order, n-before)
			}
			if len(b.expected) != 0 {
				t.Errorf("%s: %d expectations are left", order, len(b.expected))
			}
		})
	}
}

// Whatever makes an expectation doubtful, the await asks, at once or with the safety check.
func TestDoubtfulExpectationsAreAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, w *world, b *Inbox)
		late  bool // found by the safety check
		state record.State
	}{
		"the notice is lost":      {func(_ *testing.T, w *world, _ *Inbox) { w.endTask("a") }, true, record.Succeeded},
		"more than a notice says": {func(_ *testing.T, w *world, _ *Inbox) { w.set(func() { w.mute = false }); w.endTask("a") }, false, record.Succeeded},
		"a while ago": {func(_ *testing.T, w *world, b *Inbox) {
			time.Sleep(expectFor + time.Second)
			w.create(t, b, "next")
			w.endTask("a")
		}, false, record.Succeeded},
		"reconnected": {func(_ *testing.T, w *world, _ *Inbox) {
			w.endTask("a")
			w.channel.send(Event{Kind: Subscribed})
		}, false, record.Succeeded},
		"not stored": {func(_ *testing.T, w *world, b *Inbox) {
			b.Created("a", false)
			w.set(func() { delete(w.records, "a") })
		}, false, ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			b := awaiting(t, w)
			w.set(func() { w.mute = true })
			w.create(t, b, "a")
			c.spoil(t, w, b)
			synctest.Wait()
			begin := time.Now()
			a, err := b.Wait(t.Context(), whole("a"))
			if err != nil || a.Outcome.State != c.state || c.state == "" && a.Status != record.IsUnknown {
				t.Errorf("%s: %+v, %v", name, a, err)
			}
			if took := time.Since(begin); c.late != (took > 0) || took > 2*CheckEvery {
				t.Errorf("%s: it took %v", name, took)
			}
		})
	}
}

func TestExpectationsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		cold := w.inbox(time.Minute)
		defer cold.Close()
		if w.create(t, cold, "x") {
			t.Error("an inbox that hears nothing expects a notice")
		}
		b := awaiting(t, w)
		for i := range 3 * mostExpected {
			if got := w.create(t, b, fmt.Sprint(i)); got != (i < mostExpected) {
				t.Fatalf("expectation %d: %v", i, got)
			}
		}
		time.Sleep(expectFor + time.Second)
		if !w.create(t, b, "later") || len(b.expected) != 1 {
			t.Errorf("%d are expected, of which one is not old", len(b.expected))
		}
	})
}
