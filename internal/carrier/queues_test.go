package carrier

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
)

// order notes the queues in which deliveries are taken.
type order struct {
	slots *counter
	mu    sync.Mutex
	taken []string
}

func (o *order) handle(queue string, _ []byte) error {
	o.mu.Lock()
	o.taken = append(o.taken, queue)
	o.mu.Unlock()
	o.slots.Release()
	return nil
}

func (o *order) first(n int) []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.taken[:min(n, len(o.taken))])
}

func count(queues []string, queue string) (n int) {
	for _, q := range queues {
		if q == queue {
			n++
		}
	}
	return n
}

func TestQueuesShareByWeight(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		const each = 500
		producer, o := carrierOf(dial()), &order{slots: slotsOf(1)}
		for _, q := range []string{"heavy", "light"} {
			if err := producer.Enqueue(t.Context(), tasks(q, each)); err != nil {
				t.Fatal(err)
			}
		}
		serve(t, carrierOf(dial()), ServeConfig{Queues: map[string]int{"heavy": 6, "light": 2}, Slots: o.slots, Handle: o.handle})
		eventually(t, "most are taken", func() bool { return len(o.first(each)) == each })
		// While both have work three of four are of the heavier one. 12 of 500 are one standard deviation.
		if n := count(o.first(each), "heavy"); n < each*3/4-80 || n > each*3/4+80 {
			t.Errorf("%d of the first %d were of the queue with three times the weight", n, each)
		}
	})
}

func TestStrictOrder(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		producer, o := carrierOf(dial()), &order{slots: slotsOf(1)}
		queues := map[string]int{"a": 1, "b": 3, "c": 2}
		for q := range queues {
			if err := producer.Enqueue(t.Context(), tasks(q, 50)); err != nil {
				t.Fatal(err)
			}
		}
		_ = o.slots.Acquire(t.Context())
		rdb := dial()
		serve(t, carrierOf(rdb), ServeConfig{Queues: queues, Strict: true, Slots: o.slots, Handle: o.handle})
		eventually(t, "it waits for a slot", func() bool { return o.slots.blocked() == 1 })
		o.slots.Release()
		eventually(t, "all are taken", func() bool { return len(o.first(150)) == 150 })
		want := slices.Concat(slices.Repeat([]string{"b"}, 50), slices.Repeat([]string{"c"}, 50), slices.Repeat([]string{"a"}, 50))
		// asynq starts each in a goroutine, so two that follow each other may change places.
		got := o.first(150)
		for i := range got {
			if !slices.Contains(want[max(i-2, 0):min(i+3, 150)], got[i]) {
				t.Fatalf("delivery %d is of %s, want %s", i, got[i], want[i])
			}
		}
	})
}

// Of several queues that have work after a rest the heaviest comes first, too.
func TestTheHeaviestQueueIsLookedAtFirst(t *testing.T) {
	g := newGate(conn.New(&broken{}, quiet), keys.New("n", 1), slotsOf(1), map[string]int{"a": 1, "b": 3, "c": 2, "d": 1}, false)
	if want := []string{"b", "c", "a", "d"}; !slices.Equal(g.queues, want) {
		t.Errorf("looked at in the order %q, want %q", g.queues, want)
	}
}

// A worker without a free slot leaves everything to the others.
func TestDecision41_ABusyWorkerHoardsNothing(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		producer := carrierOf(dial())
		stuck, begun := slotsOf(1), make(chan struct{}, 100)
		serve(t, carrierOf(dial()), ServeConfig{Queues: map[string]int{"q": 1}, Slots: stuck, Handle: func(string, []byte) error {
			begun <- struct{}{} // and its slot is kept
			return nil
		}})
		if err := producer.Enqueue(t.Context(), tasks("q", 1)); err != nil {
			t.Fatal(err)
		}
		<-begun
		slots := slotsOf(1)
		box := inboxOf(slots)
		serve(t, carrierOf(dial()), ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: box.handle})
		for i := range 20 {
			hs := tasks("q", 5)
			for j := range hs {
				hs[j].Delivery.Refs[0].ID = fmt.Sprint(i, "/", j)
			}
			if err := producer.Enqueue(t.Context(), hs); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the other worker took all", func() bool { return box.len() == 100 })
		if len(begun) > 0 {
			t.Errorf("the busy worker took %d", len(begun))
		}
	})
}

// While Redis is away a server asks seldom, and with all its loops together does not open connection after connection.
func TestAnOutageIsWaitedOutCalmly(t *testing.T) {
	s := redistest.Local(t)
	opts, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	var dials atomic.Int64
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	opts.DialerRetries = 1 // go-redis' own repetitions are not the gate's
	opts.MaxRetries = -1
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	log := &counted{}
	rdb.AddHook(log)
	slots := slotsOf(1)
	c := carrierOf(rdb)
	srv := serve(t, c, ServeConfig{Queues: map[string]int{"q": 1, "r": 1}, Slots: slots, Handle: inboxOf(slots).handle})
	eventually(t, "parked", isParked(t, s.Client(t), c.keys, "q"))
	s.Kill(t)
	eventually(t, "it notices", func() bool { return srv.gate.failures.Load() > 0 })
	before, begin := log.n.Load(), time.Now()
	eventually(t, "the longest pause", func() bool { return srv.gate.failures.Load() > 8 })
	tries, took := log.n.Load()-before, time.Since(begin)
	// The pauses double from 10 ms to a second, with jitter; asynq by itself asks some thousand times a second.
	if tries > 40 {
		t.Errorf("%d tries in %v", tries, took)
	}
	if n := slots.taken(); n > 1 {
		t.Errorf("%d slots are taken", n)
	}
}

// counted counts what is sent.
type counted struct{ n atomic.Int64 }

func (c *counted) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counted) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmd)
	}
}

func (c *counted) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.n.Add(1)
		return next(ctx, cmds)
	}
}
