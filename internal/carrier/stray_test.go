package carrier

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// The answer to a dequeue is lost: asynq has handed the message out, and nobody has it.
func TestDecision03_StrayDeliveriesComeBack(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		ctx, rdb := t.Context(), dial()
		k := keys.New("ns", 1)
		link := conn.New(rdb, quiet)
		c := New(link, k, nobody)
		records := record.NewStore(link, k)
		for _, id := range []string{"a", "b"} {
			created, err := records.Create(ctx, record.NewTask{ID: id, Type: "t", Queue: "q", Digest: []byte("d"), Retention: time.Hour, MaxPending: time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			ref := record.Ref{ID: id, Number: created[0].Number}
			if err := c.HandOver(ctx, records, []record.HandOver{{Queue: "q", Delivery: record.Delivery{Refs: []record.Ref{ref}}}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := rdb.LPush(ctx, "asynq:{ns:q}:active", "husk").Err(); err != nil {
			t.Fatal(err)
		}
		lease := func(id string, age time.Duration) {
			t.Helper()
			z := redis.Z{Score: float64(time.Now().Add(Lease - age).Unix()), Member: id}
			if err := rdb.ZAdd(ctx, "asynq:{ns:q}:lease", z).Err(); err != nil {
				t.Fatal(err)
			}
		}
		take := func() string {
			t.Helper()
			id, err := rdb.LMove(ctx, "asynq:{ns:q}:pending", "asynq:{ns:q}:active", "RIGHT", "LEFT").Result()
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		look := func(back, removed int) {
			t.Helper()
			b, r, err := c.Strays(ctx, "q", 4*time.Second, records.Unclaimed)
			if b != back || r != removed || err != nil {
				t.Fatalf("%d put back, %d removed, %v; want %d and %d", b, r, err, back, removed)
			}
		}
		first := take()
		lease(first, time.Second)
		lease("husk", 10*time.Second)
		look(0, 1) // the young one may still be claimed
		lease(first, 10*time.Second)
		look(1, 0)
		if again := take(); again != first {
			t.Fatalf("%s is at the head, not %s", again, first)
		}
		if _, err := records.Claim(context.Background(), "w", "n", record.Ref{ID: "a", Number: 1}); err != nil {
			t.Fatal(err)
		}
		lease(first, 10*time.Second)
		look(0, 1) // somebody holds what it names
		if n := rdb.Exists(ctx, "asynq:{ns:q}:t:"+first).Val(); n != 0 {
			t.Fatal("the message is still there")
		}
		if n := rdb.LLen(ctx, "asynq:{ns:q}:active").Val() + rdb.ZCard(ctx, "asynq:{ns:q}:lease").Val(); n != 0 {
			t.Fatalf("%d entries are left", n)
		}
	})
}
