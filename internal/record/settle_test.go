package record_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// A script that fails keeps what it has done so far, and what is published cannot be taken back: an end that is not written is told to nobody.
func TestDecision07_AnEndIsToldBehindItsRecord(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, rdb *redis.Client) {
		ctx := t.Context()
		sub := rdb.Subscribe(ctx, s.Keys().Inbox("me"))
		defer sub.Close()
		if _, err := sub.Receive(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Create(ctx, task("a")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Watch(ctx, "me", []record.Interest{{ID: "a", View: record.Whole}}); err != nil {
			t.Fatal(err)
		}
		ref := record.Ref{ID: "a", Number: 1}
		cs, err := s.Claim(ctx, "w", "n", ref)
		one(t, cs, err)

		open := keys.New("ns", 1).Open(0)
		if err := rdb.Rename(ctx, open, open+":kept").Err(); err != nil {
			t.Fatal(err)
		}
		if err := rdb.Set(ctx, open, "what a settle writes to is no set", 0).Err(); err != nil {
			t.Fatal(err)
		}
		out := record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte("1")), Attempt: 1}
		if st, err := s.Settle(ctx, "w", ref, out); err == nil {
			t.Fatalf("%+v", st)
		}
		if in, err := s.Look(ctx, "a"); err != nil || in.State.Final() {
			t.Fatalf("%+v %v", in, err)
		}
		if err := rdb.Rename(ctx, open+":kept", open).Err(); err != nil {
			t.Fatal(err)
		}
		// what comes behind a mark was not said before it
		if err := rdb.Publish(ctx, s.Keys().Inbox("me"), "mark").Err(); err != nil {
			t.Fatal(err)
		}
		if st, err := s.Settle(ctx, "w", ref, out); err != nil || !st.Applied {
			t.Fatalf("%+v %v", st, err)
		}
		for i, want := range []string{"mark", "1:t"} {
			m, err := sub.ReceiveTimeout(ctx, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			said, _ := m.(*redis.Message)
			if said == nil || len(said.Payload) < len(want) || said.Payload[:len(want)] != want {
				t.Fatalf("message %d is %v, want %q first", i, m, want)
			}
		}
	})
}
