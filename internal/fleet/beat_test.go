package fleet

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/internal/keys"
)

func start(t *testing.T) (*redis.Client, *conn.Conn) {
	t.Helper()
	r, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(r.Options())
	t.Cleanup(func() {
		_ = rdb.Close()
		r.Close()
	})
	return rdb, conn.New(rdb, slog.New(slog.DiscardHandler))
}

// noLook is that of a worker without a server.
func noLook() carrier.Look {
	return carrier.Look{Keys: []string{"bell"}, Step: 1, Args: []any{"", 1, 1}}
}

func TestDecision01_ABeatIsACounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, c := start(t)
		k := keys.New("ns", 1)
		asked, clock := 0, &Clock{}
		b := NewBeat(BeatConfig{
			Conn: c, Keys: k, ID: "w1", Queues: map[string]int{"low": 1, "default": 3}, Types: []string{"echo", "a.b"}, Clock: clock, Log: slog.New(slog.DiscardHandler),
			Status: func() Status { return Status{Slots: 8, Running: 3} },
			Ask:    func(context.Context) error { asked++; return nil },
			Look:   noLook, Told: func(Errands) {},
		})
		if err := b.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { b.Run(ctx); close(ended) }()
		last := 0
		for range 30 {
			time.Sleep(beatEvery)
			synctest.Wait()
			n, err := strconv.Atoi(rdb.HGet(t.Context(), k.Worker("w1"), "n").Val())
			if err != nil || n != last+1 && last != 0 {
				t.Fatalf("beat %d after %d, %v", n, last, err)
			}
			last = n
		}
		if asked != 30 {
			t.Errorf("asked about its holdings %d times in 30 beats", asked)
		}
		peers, err := Peers(t.Context(), c, k)
		if err != nil || len(peers) != 1 {
			t.Fatalf("peers %+v, %v", peers, err)
		}
		p := peers[0]
		if p.ID != "w1" || p.Slots != 8 || p.Running != 3 || p.Draining || !maps.Equal(p.Queues, map[string]int{"default": 3, "low": 1}) || !slices.Equal(p.Types, []string{"a.b", "echo"}) {
			t.Errorf("peer %+v", p)
		}
		for _, q := range []struct {
			queue, typ string
			want       bool
		}{{"default", "echo", true}, {"low", "a.b", true}, {"default", "b", false}, {"other", "echo", false}} {
			if known, err := Known(t.Context(), c, k, q.queue, q.typ); known != q.want || err != nil {
				t.Errorf("type %s in queue %s: known %v, %v", q.typ, q.queue, known, err)
			}
		}
		stop()
		<-ended
		if n := rdb.Exists(t.Context(), k.Worker("w1"), k.Workers(), k.Lead()).Val(); n != 0 {
			t.Errorf("%d keys are left after a clean end", n)
		}
	})
}

func TestTheKilledFadeFromTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, c := start(t)
		k := keys.New("ns", 1)
		beat := func(id string) *Beat {
			return NewBeat(BeatConfig{
				Conn: c, Keys: k, ID: id, Clock: &Clock{}, Log: slog.New(slog.DiscardHandler),
				Status: func() Status { return Status{} }, Ask: func(context.Context) error { return nil },
				Look: noLook, Told: func(Errands) {},
			})
		}
		for _, id := range []string{"killed", "lives"} {
			if err := beat(id).Once(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { beat("lives").Run(ctx); close(ended) }()
		list := func() []string { return rdb.ZRange(t.Context(), k.Workers(), 0, -1).Val() }
		time.Sleep(beatLife - beatEvery)
		synctest.Wait()
		if got := list(); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"killed", "lives"}) {
			t.Errorf("listed within the minute: %q", got)
		}
		time.Sleep((beatLong + 2) * beatEvery)
		synctest.Wait()
		if got := list(); !slices.Equal(got, []string{"lives"}) {
			t.Errorf("listed later: %q, want who lives alone", got)
		}
		stop()
		<-ended
	})
}

func TestClockFollowsRedis(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t)
		clock := &Clock{}
		if d := time.Since(clock.Now()).Abs(); d != 0 {
			t.Errorf("a clock that was never set is off by %s", d)
		}
		if err := clock.Ask(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(clock.Now()).Abs(); d > time.Millisecond { // Redis and we share a clock here
			t.Errorf("off by %s", d)
		}
		call := conn.NewCommand("time")
		call.Reply = []any{"1000", "500000"}
		if err := clock.take(time.Now(), call); err != nil {
			t.Fatal(err)
		}
		if got := clock.Now(); !got.Equal(time.Unix(1000, 500_000_000)) {
			t.Errorf("now %s, Redis said 1000.5", got)
		}
		time.Sleep(time.Second)
		if d := clock.Until(time.Unix(1003, 0)); d != 1500*time.Millisecond {
			t.Errorf("until %s, want 1.5s", d)
		}
		sent := time.Now()
		time.Sleep(time.Second) // a slow answer says less than the one before
		if err := clock.take(sent, call); err != nil {
			t.Fatal(err)
		}
		if d := clock.Until(time.Unix(1003, 0)); d != 500*time.Millisecond {
			t.Errorf("until %s, want 500ms: the better reading counts", d)
		}
		for _, bad := range []any{nil, []any{"1"}, []any{"x", "y"}} {
			call.Reply = bad
			if err := clock.take(time.Now(), call); err == nil {
				t.Errorf("%v was taken for a time", bad)
			}
		}
	})
}
