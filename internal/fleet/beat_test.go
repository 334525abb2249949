package fleet

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
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

// beatOf returns a beat of a worker that holds nothing and hears nothing.
func beatOf(c *conn.Conn, k keys.Space, id string, edit ...func(*BeatConfig)) *Beat {
	cfg := BeatConfig{
		Conn: c, Keys: k, ID: id, Clock: &Clock{}, Log: slog.New(slog.DiscardHandler),
		Status: func() Status { return Status{} }, Ask: func(context.Context) error { return nil },
		Look: noLook, Told: func(Errands) {},
		Read: func(Reading) bool { return false }, Revive: func(context.Context, int64) error { return nil },
		Return: func(context.Context, int64) error { return nil }, Rewound: func(context.Context) error { return nil },
	}
	for _, e := range edit {
		e(&cfg)
	}
	return NewBeat(cfg)
}

// run lets a beat run until the function that it returns is called.
func run(b *Beat) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { b.Run(ctx); close(ended) }()
	return func() { cancel(); <-ended }
}

func once(t *testing.T, b *Beat) {
	t.Helper()
	if _, err := b.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestDecision01_ABeatIsACounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, c := start(t)
		k := keys.New("ns", 1)
		asked, clock := 0, &Clock{}
		var returned int64
		b := beatOf(c, k, "w1", func(cfg *BeatConfig) {
			cfg.Queues, cfg.Types, cfg.Clock = map[string]int{"low": 1, "default": 3}, []string{"echo", "a.b"}, clock
			cfg.Status = func() Status { return Status{Slots: 8, Running: 3} }
			cfg.Ask = func(context.Context) error { asked++; return nil }
			cfg.Return = func(_ context.Context, beat int64) error { returned = beat; return nil }
		})
		once(t, b)
		stop := run(b)
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
		if d := time.Since(clock.Now()).Abs(); d > time.Millisecond || clock.read.IsZero() {
			t.Errorf("the clock is off by %s", d)
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
		if n := rdb.Exists(t.Context(), k.Worker("w1"), k.Workers(), k.Lead()).Val(); n != 0 || returned != int64(last) {
			t.Errorf("%d keys are left after a clean end; what it held was given back at beat %d of %d", n, returned, last)
		}
	})
}

func TestWhoCouldNotGiveBackStaysOnTheList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, c := start(t)
		k := keys.New("ns", 1)
		b := beatOf(c, k, "w", func(cfg *BeatConfig) {
			cfg.Return = func(context.Context, int64) error { return errors.New("refused") }
		})
		once(t, b)
		run(b)()
		if n := rdb.Exists(t.Context(), k.Worker("w"), k.Workers()).Val(); n != 2 {
			t.Errorf("%d of its 2 keys are there: nobody would look for what it held", n)
		}
	})
}

func TestTheKilledStayOnTheListUntilTheyAreBuriedAndServeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, c := start(t)
		k := keys.New("ns", 1)
		serves := func(cfg *BeatConfig) { cfg.Queues, cfg.Types = map[string]int{"q": 1}, []string{"t"} }
		once(t, beatOf(c, k, "killed", serves))
		stop := run(beatOf(c, k, "lives"))
		known := func() bool {
			known, err := Known(t.Context(), c, k, "q", "t")
			if err != nil {
				t.Fatal(err)
			}
			return known
		}
		if !known() {
			t.Error("not known while it beats")
		}
		time.Sleep(Alive + time.Second)
		synctest.Wait()
		if known() {
			t.Error("a worker that has been silent for a minute counts as one that serves")
		}
		if list := rdb.ZRange(t.Context(), k.Workers(), 0, -1).Val(); len(list) != 2 {
			t.Errorf("listed: %q, want both", list)
		}
		stop()
	})
}

func TestTheAnswerToABeatNamesWhoIsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := start(t)
		k := keys.New("ns", 1)
		var read []Reading
		b := beatOf(c, k, "w", func(cfg *BeatConfig) {
			cfg.Read = func(r Reading) bool { read = append(read, r); return len(r.Late) > 0 }
		})
		for _, id := range []string{"dead", "beats"} {
			once(t, beatOf(c, k, id))
		}
		beats := run(beatOf(c, k, "beats"))
		time.Sleep(100 * time.Millisecond) // so that the beats are in between
		at := time.Now()
		stop := run(b)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		stop()
		beats()
		var gaps []time.Duration
		for i, r := range read {
			late := make([]string, 0, len(r.Late))
			for _, l := range r.Late {
				late = append(late, l.ID)
			}
			if want := r.Sent.Sub(at) > lateAfter; want != slices.Contains(late, "dead") || len(late) > 1 || len(late) == 1 && r.Late[0].Beat != 1 {
				t.Errorf("after %s: late %+v", r.Sent.Sub(at), r.Late)
			}
			if i > 0 {
				gaps = append(gaps, r.Sent.Sub(read[i-1].Sent))
			}
		}
		if len(gaps) < 6 || gaps[0] != beatEvery || gaps[len(gaps)-1] != beatWatchful {
			t.Errorf("between the reads: %v, want them sooner while somebody is late", gaps)
		}
	})
}

func TestDecision01_WhoBeatsAgainIsToldThatItWasDeclaredDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, c := start(t)
		k := keys.New("ns", 1)
		declare := func(beat int) {
			call := fleetCall(declareScript, k, "w", beat, "survivor", 1000)
			if err := c.All(t.Context(), call); err != nil {
				t.Fatal(err)
			}
		}
		refuse := true
		var revived []int64
		b := beatOf(c, k, "w", func(cfg *BeatConfig) {
			cfg.Revive = func(_ context.Context, beat int64) error {
				revived = append(revived, beat)
				if refuse {
					return errors.New("no answer")
				}
				return nil
			}
		})
		once(t, b)
		once(t, b)
		declare(1) // of a read that is too old
		once(t, b)
		if len(revived) > 0 {
			t.Fatalf("revived at %v: a declaration came through though it had beaten since", revived)
		}
		declare(3)
		for range 2 {
			if _, err := b.Once(t.Context()); err == nil {
				t.Error("no error though reviving failed")
			}
		}
		refuse = false
		once(t, b)
		once(t, b)
		if !slices.Equal(revived, []int64{3, 4, 5}) {
			t.Errorf("revived at %v, want 3, and then until it succeeds", revived)
		}
		if rdb.HExists(t.Context(), k.Worker("w"), "dead").Val() {
			t.Error("it is still marked as dead")
		}
		if err := c.All(t.Context(), fleetCall(buryScript, k, "w", 7)); err != nil { // declared, and all was taken from it
			t.Fatal(err)
		}
		once(t, b)
		once(t, b)
		if len(revived) != 4 || revived[3] != 7 || rdb.HGet(t.Context(), k.Worker("w"), "host").Val() == "" {
			t.Errorf("revived at %v after it was buried; known of it: %v", revived, rdb.HGetAll(t.Context(), k.Worker("w")).Val())
		}
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
		call.Reply = []any{"1001", "700000"}
		if err := clock.take(sent, call); err != nil {
			t.Fatal(err)
		}
		if d := clock.Until(time.Unix(1003, 0)); d != 500*time.Millisecond {
			t.Errorf("until %s, want 500ms: the better reading counts", d)
		}
		sent = time.Now()
		time.Sleep(time.Second)
		call.Reply = []any{"700", "0"} // a new master, whose clock is behind
		if err := clock.take(sent, call); err != nil {
			t.Fatal(err)
		}
		if d := clock.Until(time.Unix(703, 0)); d != 2500*time.Millisecond {
			t.Errorf("until %s, want 2.5s: a clock that has jumped is followed at once", d)
		}
		for _, bad := range []any{nil, []any{"1"}, []any{"x", "y"}} {
			call.Reply = bad
			if err := clock.take(time.Now(), call); err == nil {
				t.Errorf("%v was taken for a time", bad)
			}
		}
	})
}

// A beat says which master answers it.
func TestDecision01_ABeatKnowsItsMaster(t *testing.T) {
	s := redistest.Local(t, "--enable-debug-command", "yes")
	rdb := s.Client(t)
	var readings []Reading
	b := beatOf(conn.New(rdb, slog.New(slog.DiscardHandler)), keys.New("n", 1), "w", func(cfg *BeatConfig) {
		cfg.Read = func(r Reading) bool { readings = append(readings, r); return false }
	})
	for n := range 4 {
		if n == 2 { // as after a failover
			if err := rdb.Do(t.Context(), "debug", "change-repl-id").Err(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := readings[1].Master, readings[2].Master; len(a) != 40 || len(b) != 40 || a == b || readings[0].Master != a || readings[3].Master != b {
		t.Errorf("%+v", readings)
	}
}
