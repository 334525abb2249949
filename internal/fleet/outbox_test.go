package fleet

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestDecision07_OutboxDeliveriesAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n, at, most atomic.Int64
		o := NewOutbox(OutboxConfig{Log: slog.New(slog.DiscardHandler), Deliver: func(context.Context, int) error {
			most.Store(max(most.Load(), at.Add(1)))
			time.Sleep(10 * time.Millisecond)
			at.Add(-1)
			n.Add(1)
			return nil
		}})
		for range 100 {
			o.Kick(0)
		}
		time.Sleep(15 * time.Millisecond)
		o.Kick(0) // comes while the second runs: may be told by a third only
		o.Close()
		o.Kick(0)
		synctest.Wait()
		if got := n.Load(); got < 2 || got > 3 || most.Load() != 1 {
			t.Errorf("%d deliveries, %d at once", got, most.Load())
		}
	})
}

func TestOutboxTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		o := NewOutbox(OutboxConfig{Log: slog.New(slog.DiscardHandler), Deliver: func(context.Context, int) error {
			if n++; n < 4 {
				return errors.New("no answer")
			}
			return nil
		}})
		o.Kick(3)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n != 4 {
			t.Errorf("%d tries, want until it succeeds: 4", n)
		}
		o.Close()
	})
}

func TestOutboxLooksForWhatIsLate(t *testing.T) {
	seen := []ShardErrands{{Outbox: true}, {}, {Outbox: true}, {}}
	for _, tt := range []struct {
		name    string
		errands Errands
		want    []int // looks in 40 s
	}{
		{"who leads, where the beats see entries", Errands{Leads: true, Shards: seen}, []int{10, 0, 10, 0}},
		{"who leads, where the beats see no shards", Errands{Leads: true}, []int{10, 10, 10, 10}},
		{"another one", Errands{Shards: seen}, []int{0, 0, 0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				looks, repairs := make([]int, 4), &Repairs{}
				o := NewOutbox(OutboxConfig{
					Shards: 4, Log: slog.New(slog.DiscardHandler), Repairs: repairs, Errands: func() Errands { return tt.errands },
					Late: func(_ context.Context, shard int, age time.Duration) (int, error) {
						looks[shard]++
						if age != outboxLate {
							t.Errorf("age %s", age)
						}
						return shard, nil
					},
				})
				ctx, stop := context.WithCancel(t.Context())
				go o.Run(ctx)
				time.Sleep(40*time.Second + time.Millisecond)
				stop()
				synctest.Wait()
				if !slices.Equal(looks, tt.want) {
					t.Errorf("looks into the shards in 40 s: %v, want %v", looks, tt.want)
				}
				if got, want := repairs.Counts()[RepairOutbox], uint64(looks[1]+2*looks[2]+3*looks[3]); got != want {
					t.Errorf("%d late entries counted, want %d", got, want)
				}
			})
		})
	}
}
