package inbox

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// In a cluster one master may be gone: awaits of what the others have go on, those of what it had end with the patience, or with its end
// if it comes back.
func TestDecision16_AMasterThatIsGoneHoldsUpItsOwn(t *testing.T) {
	for _, back := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			b := w.inbox(10 * time.Second)
			w.begin("there", "late", "gone")
			w.set(func() { w.mute = true })
			begin := time.Now()
			there, late, gone := waitFor(b, t.Context(), whole("there")), waitFor(b, t.Context(), whole("late")), waitFor(b, t.Context(), whole("gone"))
			time.Sleep(time.Second)
			w.set(func() { w.gone = map[string]bool{"gone": true} })
			w.endTask("there")
			w.endTask("gone")
			if a, err := there(); err != nil || a.Outcome.State != record.Succeeded || time.Since(begin) > time.Second+2*CheckEvery {
				t.Errorf("of a master that is there: %+v, %v after %v", a, err, time.Since(begin))
			}
			time.Sleep(3 * time.Second)
			w.endTask("late")
			came := time.Now()
			if a, err := late(); err != nil || a.Outcome.State != record.Succeeded || time.Since(came) > 2*CheckEvery {
				t.Errorf("later: %+v, %v after %v", a, err, time.Since(came))
			}
			if back {
				w.set(func() { w.gone = nil })
				came = time.Now()
				if a, err := gone(); err != nil || a.Outcome.State != record.Succeeded || time.Since(came) > 2*time.Second {
					t.Errorf("of the master that came back: %+v, %v after %v", a, err, time.Since(came))
				}
			} else if _, err := gone(); !isUnavailable(err) || time.Since(begin) < 10*time.Second || time.Since(begin) > 16*time.Second {
				t.Errorf("of the master that is gone: %v after %v", err, time.Since(begin))
			}
			if s := b.Stats(); s.Open != 0 || len(b.silent) != 0 {
				t.Errorf("%d still open, %d silent", s.Open, len(b.silent))
			}
			if n := w.flights(); n > 40 {
				t.Errorf("%d looks in %v", n, time.Since(begin))
			}
			b.Close()
		})
	}
}

func isUnavailable(err error) bool {
	_, is := errors.AsType[*UnavailableError](err)
	return is
}
