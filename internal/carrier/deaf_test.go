package carrier

import (
	"bufio"
	"bytes"
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
)

func TestDeaf(t *testing.T) {
	before := runtime.NumGoroutine()
	c := deaf()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	sub := c.Subscribe(ctx, "one", "two")
	for _, want := range []string{"one", "two"} {
		got, err := sub.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := got.(*redis.Subscription); !ok || s.Kind != "subscribe" || s.Channel != want {
			t.Errorf("received %v, want that %s is subscribed", got, want)
		}
	}
	messages := sub.Channel(redis.WithChannelHealthCheckInterval(time.Millisecond))
	select {
	case m, ok := <-messages:
		t.Errorf("it heard %v, %v", m, ok)
	case <-time.After(50 * time.Millisecond): // some pings
	}
	if n := c.PoolStats().PubSubStats.Created; n != 1 {
		t.Errorf("%d connections for one subscription: pings are not answered", n)
	}
	if err := c.Ping(ctx).Err(); err == nil {
		t.Error("it takes other commands")
	}
	_ = sub.Close()
	_ = c.Close()
	eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= before })
}

func FuzzReadCommand(f *testing.F) {
	f.Add([]byte("*2\r\n$9\r\nsubscribe\r\n$1\r\na\r\n"))
	f.Add([]byte("*0\r\n"))
	f.Add([]byte("*1\r\n$-1\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if words, err := readCommand(bufio.NewReader(bytes.NewReader(b))); err == nil && len(words) == 0 {
			t.Error("no command and no error")
		}
	})
}

// The client is its owner's to close, whenever. asynq's own subscriber panics then.
func TestTheClientIsClosedUnderTheServer(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		watch, slots := dial(), slotsOf(1)
		rdb := redis.NewClient(watch.Options())
		c, box := carrierOf(rdb), inboxOf(slots)
		s := serve(t, c, ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: box.handle})
		if err := c.Enqueue(t.Context(), tasks("q", 1)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "parked after a task", func() bool { return box.len() == 1 && isParked(t, watch, c.keys, "q")() })
		rdb.Close()
		eventually(t, "the gate backs off", func() bool { return s.gate.failures.Load() > 1 })
		s.Drain()
		if n := slots.taken(); n != 0 {
			t.Errorf("%d slots are taken", n)
		}
	})
}

// A server takes two connections: what it sends, and the bell.
func TestAServerSubscribesToNothing(t *testing.T) {
	s := redistest.Local(t)
	rdb, slots := s.Client(t), slotsOf(1)
	c := carrierOf(rdb)
	serve(t, c, ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: inboxOf(slots).handle})
	eventually(t, "parked", isParked(t, rdb, c.keys, "q"))
	channels, err := s.Client(t).PubSubChannels(t.Context(), "*").Result()
	if err != nil || slices.Contains(channels, "asynq:cancel") {
		t.Errorf("subscriptions %q, %v", channels, err)
	}
}
