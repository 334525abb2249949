package carrier

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// A message as asynq's client builds it, without sending it.
func BenchmarkMessageBuild(b *testing.B) {
	rdb := redis.NewClient(&redis.Options{})
	b.Cleanup(func() { _ = rdb.Close() })
	c := New(conn.New(rdb, quiet), keys.New("n", 1), nobody)
	for _, refs := range []int{1, record.MaxRefs} {
		b.Run(fmt.Sprint(refs, " refs"), func(b *testing.B) {
			h := record.HandOver{Queue: "default"}
			for i := range refs {
				h.Delivery.Refs = append(h.Delivery.Refs, record.Ref{ID: fmt.Sprintf("t:0193a7c2-5a7e-7c3e-9f5e-%012d", i), Number: 1})
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.message(h, "create"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkMessageID(b *testing.B) {
	rdb := redis.NewClient(&redis.Options{})
	b.Cleanup(func() { _ = rdb.Close() })
	c := New(conn.New(rdb, quiet), keys.New("n", 1), nobody)
	m, err := c.build("default", record.Delivery{Refs: []record.Ref{{ID: "t:0193a7c2-5a7e-7c3e-9f5e-0242ac120002", Number: 1}}}.Encode())
	if err != nil {
		b.Fatal(err)
	}
	encoded, ok := m.args[0].([]byte)
	if !ok {
		b.Fatalf("the first argument is a %T", m.args[0])
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := messageID(encoded); !ok {
			b.Fatal("no ID")
		}
	}
}
