package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
)

// farAway lets each command take a while, half of it on the way there.
type farAway time.Duration

func (farAway) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (f farAway) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		time.Sleep(time.Duration(f) / 2)
		defer time.Sleep(time.Duration(f) / 2)
		return next(ctx, cmd)
	}
}

func (f farAway) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		time.Sleep(time.Duration(f) / 2)
		defer time.Sleep(time.Duration(f) / 2)
		return next(ctx, cmds)
	}
}

// A fleet that is far from its Redis is led by one worker at a time, and finds its dead.
func TestDecision01_AFleetFarFromRedisIsLed(t *testing.T) {
	for _, trip := range []time.Duration{100 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second} {
		t.Run(trip.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScene(t, "ns")
				beats, reapers, ends := make([]*Beat, 3), make([]*Reaper, 3), make([]func(), 3)
				for i := range beats {
					rdb := redis.NewClient(s.rdb.Options())
					rdb.AddHook(farAway(trip))
					c, id := conn.New(rdb, slog.New(slog.DiscardHandler)), fmt.Sprint("survivor", i)
					reapers[i] = s.reaper(id, c)
					beats[i] = beatOf(c, s.keys, id, func(cfg *BeatConfig) { cfg.Read = reapers[i].Read })
					stop := run(beats[i])
					ends[i] = func() {
						stop()
						reapers[i].Close()
						time.Sleep(time.Minute) // what is on its way lands first
						_ = rdb.Close()
					}
					time.Sleep(300 * time.Millisecond)
				}
				defer func() {
					for _, end := range ends {
						end()
					}
				}()
				began, took := time.Now(), time.Duration(0)
				for time.Since(began) < 2*time.Minute {
					time.Sleep(beatEvery)
					synctest.Wait()
					leads := 0
					for _, b := range beats {
						if b.Errands().Leads {
							leads++
						}
					}
					if leads != 1 && time.Since(began) > 5*trip+2*time.Second {
						t.Fatalf("%d lead after %s", leads, time.Since(began))
					}
					if took == 0 && buriedAlone(s) {
						took = time.Since(began)
					}
				}
				t.Logf("buried after %s", took)
				if took == 0 || took > deadUnseen+20*trip+2*time.Second {
					t.Errorf("buried after %s (0: never)", took)
				}
				dead := uint64(0)
				for i, r := range reapers {
					dead += r.Stats().Dead
					if n := beats[i].Stats().Late; (n > 100) != (trip > beatEvery) {
						t.Errorf("%d of its answers are counted as late", n)
					}
					if s.rdb.Exists(t.Context(), s.keys.Worker(fmt.Sprint("survivor", i))).Val() != 1 {
						t.Errorf("survivor %d was taken for dead", i)
					}
				}
				if dead != 1 {
					t.Errorf("declared dead %d times", dead)
				}
			})
		})
	}
}
