package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/keys"
)

// A mark that is smaller than before is a Redis that was restored: it is counted, every shard is looked through, and until that is done
// nobody is judged; then every count starts anew.
func TestDecision20_ARestoredRedisIsLookedThroughBeforeRepairs(t *testing.T) {
	rdb, c := start(t)
	k := keys.New("n", 1)
	var readings []Reading
	began, again, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	tries, repairs := 0, &Repairs{}
	rewinds := func() uint64 { return repairs.Counts()[RepairRollback] }
	b := beatOf(c, k, "w", func(cfg *BeatConfig) {
		cfg.Repairs = repairs
		cfg.Read = func(r Reading) bool { readings = append(readings, r); return false }
		cfg.Rewound = func(context.Context) error {
			if tries++; tries == 1 {
				close(began)
				return errors.New("not now")
			}
			<-again
			defer close(done)
			return nil
		}
	})
	beat := func(n int) {
		for range n {
			if _, err := b.Once(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	beat(5)
	if n := rdb.HGet(t.Context(), k.Meta(), "mark").Val(); n != "5" || len(readings) != 5 || rewinds() != 0 {
		t.Fatalf("mark %s, %d readings, %d rewinds", n, len(readings), rewinds())
	}
	rdb.HSet(t.Context(), k.Meta(), "mark", "2")
	beat(1)
	<-began
	beat(3)
	if len(readings) != 5 || rewinds() != 1 {
		t.Errorf("%d readings while the shards are looked through, %d rewinds", len(readings), rewinds())
	}
	close(again)
	<-done
	for b.looking.Load() {
		time.Sleep(time.Millisecond)
	}
	beat(2)
	if len(readings) != 7 || !readings[5].Anew || readings[6].Anew || rewinds() != 1 {
		t.Errorf("%d readings, the last %+v; %d rewinds", len(readings), readings[5:], rewinds())
	}
}

// All of a fleet see that Redis has gone back, and one looks through the shards for all: who leads. The others leave the judging to it while
// it may be at that, also where nobody leads at first, since Redis has gone back to one who is dead.
func TestDecision20_OneOfAFleetLooksThroughARestoredRedis(t *testing.T) {
	for _, lead := range []string{"w3", "gone"} {
		synctest.Test(t, func(t *testing.T) {
			const workers = 10
			rdb, c := start(t)
			k := keys.New("n", 1)
			var looks, readings, early atomic.Int64
			var restored atomic.Pointer[time.Time]
			repairs := &Repairs{}
			var stops []func()
			defer func() {
				for _, stop := range stops {
					stop()
				}
			}()
			for i := range workers {
				var b *Beat
				b = beatOf(c, k, fmt.Sprint("w", i), func(cfg *BeatConfig) {
					cfg.Repairs = repairs
					cfg.Read = func(Reading) bool {
						readings.Add(1)
						if at := restored.Load(); at != nil && time.Since(*at) > beatEvery && time.Since(*at) < rewindPatience && !b.Errands().Leads {
							early.Add(1)
						}
						return false
					}
					cfg.Rewound = func(context.Context) error {
						if looks.Add(1); !b.Errands().Leads {
							t.Errorf("w%d looks, and does not lead", i)
						}
						return nil
					}
				})
				stops = append(stops, run(b))
			}
			time.Sleep(10 * time.Second)
			restored.Store(new(time.Now()))
			rdb.HSet(t.Context(), k.Meta(), "mark", "1")
			rdb.Set(t.Context(), k.Lead(), lead, leadFor)
			time.Sleep(rewindPatience - time.Second)
			if looks.Load() != 1 || repairs.Counts()[RepairRollback] != workers || early.Load() > 0 {
				t.Errorf("led by %s: %d looks of %d that saw it, %d judged meanwhile", lead, looks.Load(), repairs.Counts()[RepairRollback], early.Load())
			}
			time.Sleep(10 * time.Second)
			before := readings.Load()
			time.Sleep(10 * beatEvery)
			if n := readings.Load() - before; n < 9*workers || looks.Load() != 1 {
				t.Errorf("led by %s: after that %d readings in ten beats of %d, %d looks", lead, n, workers, looks.Load())
			}
		})
	}
}

// Where the shards cannot be looked through the dead are found all the same, half a minute later.
func TestDecision20_ARestoredRedisDoesNotHideTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, c := start(t)
		k := keys.New("n", 1)
		var readings, tries atomic.Int64
		b := beatOf(c, k, "w", func(cfg *BeatConfig) {
			cfg.Read = func(Reading) bool { readings.Add(1); return false }
			cfg.Rewound = func(context.Context) error { tries.Add(1); return errors.New("a record of a later version") }
		})
		for range 5 {
			once(t, b)
		}
		stop := run(b)
		rdb.HSet(t.Context(), k.Meta(), "mark", "1")
		time.Sleep(rewindPatience - time.Second)
		if n := readings.Load(); n != 5 {
			t.Errorf("%d readings before that", n-5)
		}
		time.Sleep(10 * time.Second)
		if n, m := readings.Load(), tries.Load(); n < 5+6 || m < 10 {
			t.Errorf("%d readings, and %d tries to look through the shards", n-5, m)
		}
		stop()
	})
}
