package carrier

import (
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
)

func TestDrain(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		drain := func(s *Server) time.Duration {
			begin := time.Now()
			s.Drain()
			s.Drain()
			return time.Since(begin)
		}
		t.Run("while parked", func(t *testing.T) {
			rdb, slots := dial(), slotsOf(1)
			rdb.Options().ReadTimeout = 0
			c := carrierOf(rdb)
			for _, queues := range []map[string]int{{"q": 1}, {"q": 1, "r": 1}} {
				rdb.FlushAll(t.Context())
				s := serve(t, c, ServeConfig{Queues: queues, Slots: slots, Handle: inboxOf(slots).handle}, func(s *Server) { s.gate.wait = parkLimit })
				eventually(t, "parked", isParked(t, rdb, c.keys, "q"))
				if d := drain(s); d > parkLimit/2 {
					t.Errorf("it took %v", d)
				}
				if n := slots.taken(); n != 0 {
					t.Errorf("%d slots are taken", n)
				}
			}
		})
		t.Run("while it waits for a slot", func(t *testing.T) {
			slots := slotsOf(1)
			_ = slots.Acquire(t.Context())
			s := serve(t, carrierOf(dial()), ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: inboxOf(slots).handle})
			eventually(t, "waiting", func() bool { return slots.blocked() == 1 })
			drain(s)
			if n := slots.taken(); n != 1 {
				t.Errorf("%d slots are taken", n)
			}
		})
		t.Run("waits for Handle", func(t *testing.T) {
			rdb, slots := dial(), slotsOf(1)
			c := carrierOf(rdb)
			in, out := make(chan struct{}), make(chan struct{})
			var over atomic.Bool
			s := serve(t, c, ServeConfig{Queues: map[string]int{"w": 1}, Slots: slots, Handle: func(string, []byte) error {
				close(in)
				<-out
				over.Store(true)
				return nil
			}})
			if err := c.Enqueue(t.Context(), tasks("w", 2)); err != nil {
				t.Fatal(err)
			}
			<-in
			drained := make(chan struct{})
			go func() { defer close(drained); s.Drain() }()
			eventually(t, "draining", func() bool { return s.gate.ctx.Err() != nil })
			close(out)
			<-drained
			if !over.Load() {
				t.Error("it did not wait")
			}
			if n := rdb.LLen(t.Context(), "asynq:{n:w}:pending").Val(); n != 1 {
				t.Errorf("%d are left, want 1", n)
			}
		})
	})
}

// A Redis that hangs keeps the drain from little. What was abandoned ends with the client's own time-outs.
func TestDrainWithoutRedis(t *testing.T) {
	srv := redistest.Local(t)
	rdb, slots := srv.Client(t), slotsOf(1)
	c := carrierOf(rdb)
	s := serve(t, c, ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: inboxOf(slots).handle})
	eventually(t, "parked", isParked(t, rdb, c.keys, "q"))
	srv.Pause(t)
	defer srv.Resume(t)
	begin := time.Now()
	s.Drain()
	if d := time.Since(begin); d > 5*lastWords {
		t.Errorf("it took %v", d)
	}
	if n := slots.taken(); n != 0 {
		t.Errorf("%d slots are taken", n)
	}
}

func TestNothingIsLeft(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		watch := dial()
		watch.Ping(t.Context())
		before := runtime.NumGoroutine()
		for i := range 10 {
			rdb := redis.NewClient(watch.Options())
			slots := slotsOf(2)
			c, box := carrierOf(rdb), inboxOf(slots)
			s, err := c.Serve(ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: box.handle, Log: quiet})
			if err != nil {
				t.Fatal(err)
			}
			if i%2 == 0 {
				if err := c.Enqueue(t.Context(), tasks("q", 3)); err != nil {
					t.Fatal(err)
				}
				eventually(t, "handled", func() bool { return box.len() == 3 })
			}
			s.Drain()
			eventually(t, "the pool has its connections back", func() bool {
				p := rdb.PoolStats()
				return p.TotalConns == p.IdleConns && p.PubSubStats.Active == 0
			})
			rdb.Close()
		}
		eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= before })
	})
}
