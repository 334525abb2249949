package carrier

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
)

const parkedTTL = longestWait + parkedSlack

func run(t *testing.T, rdb redis.UniversalClient, src string, keys []string, args ...any) int64 {
	t.Helper()
	n, err := rdb.Eval(t.Context(), src, keys, args...).Int64()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRing(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb, ctx := dial(), t.Context()
		now := float64(rdb.Time(ctx).Val().UnixMilli())
		later, past := now+60_000, now-1
		for _, tt := range []struct {
			name                string
			parked              map[string]float64
			already, deliveries int
			rung, left, bell    int64
		}{
			{"nobody is parked", nil, 0, 3, 0, 0, 0},
			{"nobody any more", map[string]float64{"a": past}, 0, 3, 0, 0, 0},
			{"one for many", map[string]float64{"a": later, "gone": past}, 0, 3, 1, 0, 1},
			{"many for one", map[string]float64{"a": later, "b": later, "c": later}, 0, 1, 1, 2, 1},
			{"as many", map[string]float64{"a": later, "b": later, "c": later}, 0, 2, 2, 1, 2},
			{"at most its length", map[string]float64{"a": later, "b": later, "c": later}, bellLength - 1, 3, 1, 2, bellLength},
			{"full", map[string]float64{"a": later}, bellLength, 1, 0, 1, bellLength},
		} {
			t.Run(tt.name, func(t *testing.T) {
				rdb.Del(ctx, "p", "b")
				for who, until := range tt.parked {
					rdb.ZAdd(ctx, "p", redis.Z{Member: who, Score: until})
				}
				for range tt.already {
					rdb.LPush(ctx, "b", "1")
				}
				if n := run(t, rdb, ringSrc, []string{"p", "b"}, tt.deliveries, bellLength, bellTTL.Milliseconds()); n != tt.rung {
					t.Errorf("rang %d times, want %d", n, tt.rung)
				}
				if n := rdb.ZCard(ctx, "p").Val(); n != tt.left {
					t.Errorf("%d still parked, want %d", n, tt.left)
				}
				if n := rdb.LLen(ctx, "b").Val(); n != tt.bell {
					t.Errorf("the bell is %d long, want %d", n, tt.bell)
				}
				if ttl := rdb.PTTL(ctx, "b").Val(); tt.rung > 0 && (ttl <= 0 || ttl > bellTTL) {
					t.Errorf("the bell rings for %v", ttl)
				}
			})
		}
	})
}

func TestPark(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb, ctx := dial(), t.Context()
		k := []string{"own", "p1", "pending1", "paused1", "p2", "pending2", "paused2", "p3", "pending3", "paused3"}
		park := func(step int, keys ...string) int64 {
			return run(t, rdb, LookLua+parkSrc, keys, "me", parkedTTL.Milliseconds(), bellTTL.Milliseconds(), step)
		}
		rang := func() string { return rdb.LPop(ctx, "own").Val() }
		if n := park(3, k...); n != 0 || rang() != "" {
			t.Errorf("rang for queue %d with nothing there", n)
		}
		until, now := rdb.ZScore(ctx, "p2", "me").Val(), float64(rdb.Time(ctx).Val().UnixMilli())
		if d := until - now; d < 1000 || d > float64(parkedTTL.Milliseconds()) {
			t.Errorf("parked for %v ms", d)
		}
		if ttl := rdb.PTTL(ctx, "p1").Val(); ttl <= 0 || ttl > parkedTTL {
			t.Errorf("the parked vanish in %v", ttl)
		}
		rdb.LPush(ctx, "pending2", "x")
		rdb.LPush(ctx, "pending3", "x")
		if n := park(3, k...); n != 2 {
			t.Errorf("rang for queue %d, want 2", n)
		}
		if ttl := rdb.PTTL(ctx, "own").Val(); ttl <= 0 {
			t.Errorf("the bell rings for %v", ttl)
		}
		if n := rang(); n != "2" || rang() != "" {
			t.Errorf("the bell says %q", n)
		}
		rdb.Set(ctx, "paused2", "1", 0)
		if n := park(3, k...); n != 3 || rang() != "3" {
			t.Errorf("rang for queue %d with the second paused", n)
		}
		rdb.Set(ctx, "paused3", "1", 0)
		if n := park(3, k...); n != 0 || rang() != "" {
			t.Errorf("rang for queue %d with all paused", n)
		}
		if n := park(1, "own", "p4", "p5"); n != 0 || rdb.ZCard(ctx, "p4").Val() != 1 || rdb.ZCard(ctx, "p5").Val() != 1 {
			t.Error("parked without asynq's keys: not registered")
		}
	})
}

func TestWake(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb := dial()
		cn := conn.New(rdb, quiet)
		call := &conn.Call{Script: wakeScript, Keys: []string{"own"}, Args: []any{bellTTL.Milliseconds()}}
		if err := cn.Do(t.Context(), call); err != nil || call.Err != nil {
			t.Fatal(err, call.Err)
		}
		if err := rdb.BLPop(t.Context(), time.Second, "own").Err(); err != nil {
			t.Error(err)
		}
	})
}
