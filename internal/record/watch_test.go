package record_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/record"
)

// end claims and settles a task.
func end(t *testing.T, s *record.Store, id string, value []byte) {
	t.Helper()
	ref := record.Ref{ID: id, Number: 1}
	cs, err := s.Claim(t.Context(), "w", "n", ref)
	one(t, cs, err)
	out := record.Outcome{State: record.Succeeded, Value: value, Attempt: 1}
	if st, err := s.Settle(t.Context(), "w", ref, out); err != nil || !st.Applied {
		t.Fatalf("%+v %v", st, err)
	}
}

// Of thousands that are waited for, only those are answered that somebody must hear of, in their order.
func TestWatchAnswersWhatHappened(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, rdb *redis.Client) {
		ctx := t.Context()
		const n = 1203
		var in []record.Interest
		var tasks []record.NewTask
		for i := range n {
			id := fmt.Sprintf("a%d", i)
			in = append(in, record.Interest{ID: id, View: record.Whole})
			if i != 700 {
				tasks = append(tasks, task(id))
			}
		}
		if _, err := s.Create(ctx, tasks...); err != nil {
			t.Fatal(err)
		}
		end(t, s, "a1201", record.WrapPlain([]byte("1")))
		end(t, s, "a3", record.WrapPlain([]byte("2")))
		for range 2 { // the second time all are registered
			as, err := s.Watch(ctx, "me", in)
			if err != nil || len(as) != 3 {
				t.Fatalf("%d answers, %v", len(as), err)
			}
			for i, want := range []struct {
				place  int
				status record.WatchStatus
			}{{3, record.HasEnded}, {700, record.IsUnknown}, {1201, record.HasEnded}} {
				if as[i].Place != want.place || as[i].Status != want.status {
					t.Errorf("answer %d: place %d, status %d", i, as[i].Place, as[i].Status)
				}
			}
		}
		as, err := s.Watch(ctx, "", in)
		if err != nil || len(as) != n || as[0].Status != record.Waiting || as[0].Outcome.State != record.Pending || as[1202].Place != 1202 {
			t.Errorf("a look: %d answers, %v", len(as), err)
		}
		// Each is told once to who is registered, and a registration is kept as it is while it is fresh.
		w := rdb.HGet(ctx, s.Keys().Record("a5"), "w").Val()
		if _, err := s.Watch(ctx, "me", in[5:6]); err != nil || w == "" || rdb.HGet(ctx, s.Keys().Record("a5"), "w").Val() != w {
			t.Errorf("registered as %q, then as %q, %v", w, rdb.HGet(ctx, s.Keys().Record("a5"), "w").Val(), err)
		}
		if _, err := s.Watch(ctx, "e", in[5:6]); err != nil { // ends as "me" does
			t.Fatal(err)
		}
		if both := rdb.HGet(ctx, s.Keys().Record("a5"), "w").Val(); len(both) <= len(w) {
			t.Errorf("two inboxes: %q", both)
		}
	})
}

// However large the values are, no answer of Redis is: the rest is asked for again.
func TestWatchOfManyLargeValues(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, rdb *redis.Client) {
		ctx := t.Context()
		const n = 20
		var in []record.Interest
		values := map[string][]byte{}
		for i := range n {
			id := fmt.Sprintf("a%d", i)
			values[id] = record.Wrap(random(200 << 10))
			if _, err := s.Create(ctx, task(id)); err != nil {
				t.Fatal(err)
			}
			end(t, s, id, values[id])
			in = append(in, record.Interest{ID: id, View: record.Whole})
		}
		largest := &answerSize{}
		rdb.AddHook(largest)
		for _, inbox := range []string{"", "me"} {
			as, err := s.Watch(ctx, inbox, in)
			if err != nil || len(as) != n {
				t.Fatalf("%d answers, %v", len(as), err)
			}
			for i, a := range as {
				if a.Place != i || !bytes.Equal(a.Outcome.Value, values[in[i].ID]) {
					t.Errorf("answer %d: place %d, %d bytes", i, a.Place, len(a.Outcome.Value))
				}
			}
		}
		if got := largest.bytes.Load(); got < 1<<20 || got > 3<<19 {
			t.Errorf("an answer of %d bytes", got)
		}
	})
}

// answerSize is a hook that notes the most bytes of strings in one answer.
type answerSize struct{ bytes atomic.Int64 }

func (*answerSize) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h *answerSize) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		h.note(cmd)
		return err
	}
}

func (h *answerSize) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			h.note(cmd)
		}
		return err
	}
}

func (h *answerSize) note(cmd redis.Cmder) {
	if c, ok := cmd.(interface{ Val() any }); ok {
		h.bytes.Store(max(h.bytes.Load(), size(c.Val())))
	}
}

func size(v any) (n int64) {
	switch v := v.(type) {
	case string:
		n = int64(len(v))
	case []any:
		for _, e := range v {
			n += size(e)
		}
	}
	return n
}
