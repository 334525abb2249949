package carrier

import (
	"strconv"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
)

// The tests named TestContract are the contract with asynq: where a new version breaks one, what its comment names works in a
// plainer way until this package has learnt the new shape. integration runs them against changed copies of asynq.

// The contract about what lies in Redis while a message is in a handler's hands: active list, lease, state and the message itself.
// Waiting, Strays and what the beats look for stand on it; without it strays come back as late as asynq's own recoverer finds them.
func TestContractAsynqLayout(t *testing.T) {
	s := redistest.Local(t)
	rdb, slots := s.Client(t), slotsOf(1)
	c := carrierOf(rdb)
	in, out := make(chan struct{}), make(chan struct{})
	before := time.Now()
	serve(t, c, ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: func(string, []byte) error {
		in <- struct{}{}
		<-out
		slots.Release()
		return nil
	}})
	info, err := asynq.NewClientFromRedisClient(rdb).Enqueue(asynq.NewTask(TaskType, tasks("q", 1)[0].Delivery.Encode()), asynq.Queue("n:q"))
	if err != nil {
		t.Fatal(err)
	}
	defer close(out)
	select {
	case <-in:
	case <-time.After(20 * time.Second):
		t.Fatal("asynq's dequeue is another one: the message is not taken")
	}
	ctx, prefix := t.Context(), asynqPrefix("n:q")
	if ids := rdb.LRange(ctx, prefix+"active", 0, -1).Val(); len(ids) != 1 || ids[0] != info.ID {
		t.Errorf("the active list is %q, want %s", ids, info.ID)
	}
	leases := rdb.ZRangeWithScores(ctx, prefix+"lease", 0, -1).Val()
	if len(leases) != 1 || leases[0].Member != info.ID {
		t.Errorf("the leases are %v, want one of %s", leases, info.ID)
	} else if end := time.Unix(int64(leases[0].Score), 0); end.Before(before.Add(Lease-2*time.Second)) || end.After(time.Now().Add(Lease+time.Second)) {
		t.Errorf("the lease ends in %v, want %v", time.Until(end), Lease)
	}
	fields := rdb.HGetAll(ctx, prefix+"t:"+info.ID).Val()
	if fields["state"] != "active" {
		t.Errorf("the message's state is %q", fields["state"])
	}
	if _, ours := Message([]byte(fields["msg"])); !ours {
		t.Errorf("the message is not to be read: %q", fields["msg"])
	}
	inspector := asynq.NewInspectorFromRedisClient(rdb)
	if err := inspector.PauseQueue("n:q"); err != nil {
		t.Fatal(err)
	}
	if n := rdb.Exists(ctx, prefix+"paused").Val(); n != 1 {
		t.Error("the pause mark is elsewhere")
	}
}

// Each message is handled in the slot that was set aside for it, whatever asynq does with contexts.
func TestEachMessageHasItsSlot(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		const n = 50
		slots := slotsOf(n)
		c := carrierOf(dial())
		held := make(chan struct{}, n)
		s := serve(t, c, ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: func(string, []byte) error {
			held <- struct{}{}
			return nil
		}})
		if err := c.Enqueue(t.Context(), tasks("q", n)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all taken, each with one slot", func() bool { return len(held) == n && slots.taken() == n })
		s.gate.mu.Lock()
		defer s.gate.mu.Unlock()
		if len(s.gate.aside) > 0 {
			t.Errorf("%d slots were not taken over", len(s.gate.aside))
		}
	})
}

// Whatever asynq does, and this is no contract: what is enqueued is handled, and no slot is lost.
func TestAnyAsynqCarries(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		slots := slotsOf(2)
		c, box := carrierOf(dial()), inboxOf(slots)
		s := serve(t, carrierOf(dial()), ServeConfig{Queues: map[string]int{"q": 1, "r": 2}, Slots: slots, Handle: box.handle})
		want := 0
		for round := range 3 {
			for _, queue := range []string{"q", "r"} {
				hs := tasks(queue, 10)
				for i := range hs {
					hs[i].Delivery.Refs[0].ID = strconv.Itoa(round) + "/" + hs[i].Delivery.Refs[0].ID
				}
				if err := c.Enqueue(t.Context(), hs); err != nil {
					t.Fatal(err)
				}
				want += len(hs)
			}
			eventually(t, "all handled", func() bool { return box.len() == want })
			time.Sleep(2 * blindPace) // it rests between the rounds
		}
		s.Drain()
		if d := box.doubles(); len(d) > 0 || slots.taken() != 0 {
			t.Errorf("twice %v, %d slots taken", d, slots.taken())
		}
		t.Logf("dequeue recognised: %v, client known: %v", s.gate.recognised.Load(), c.client != nil)
	})
}
