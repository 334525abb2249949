package fleet

import (
	"testing"
	"testing/synctest"
	"time"
)

// A survivor on a machine so busy that its reads are far apart finds the dead, later by the time between its reads, and takes nobody else
// for dead: not who beats, nor who is subscribed and has no turn for a while.
func TestDecision01_AStarvedSurvivorFindsTheDead(t *testing.T) {
	for _, apart := range []time.Duration{readsApart, 1600 * time.Millisecond, 2500 * time.Millisecond, 4 * time.Second} {
		t.Run(apart.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, "ns")
				defer run(beatOf(s.conn, s.keys, "lives"))()
				r := s.reaper("survivor", s.conn)
				defer r.Close()
				b := beatOf(s.conn, s.keys, "survivor", func(cfg *BeatConfig) { cfg.Read = r.Read })
				began, took := time.Now(), time.Duration(0)
				for time.Since(began) < 2*time.Minute {
					once(t, b)
					time.Sleep(apart)
					synctest.Wait()
					if took == 0 && buriedAlone(s) {
						took = time.Since(began)
					}
				}
				t.Logf("buried after %s", took)
				if took == 0 || took > 17*apart {
					t.Errorf("reads %s apart: buried after %s (0: never)", apart, took)
				}
				if n := r.Stats().Gaps; (n > 20) != (apart > readsApart) {
					t.Errorf("reads %s apart: %d gaps are counted", apart, n)
				}
				if n := r.Stats().Dead; n != 1 || s.rdb.Exists(t.Context(), s.keys.Worker("lives")).Val() != 1 {
					t.Errorf("%d were declared dead", n)
				}
			})
		})
	}
}
