package record_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

func each(t *testing.T, test func(t *testing.T, s *record.Store, rdb *redis.Client)) {
	t.Helper()
	for name, start := range map[string]func(testing.TB) *redistest.Server{
		"embedded":     redistest.Embedded,
		"redis-server": func(t testing.TB) *redistest.Server { return redistest.Local(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := start(t).PatientClient(t)
			test(t, record.NewStore(conn.New(rdb, slog.New(slog.DiscardHandler)), keys.New("ns", 1)), rdb)
		})
	}
}

func task(id string) record.NewTask {
	return record.NewTask{ID: id, Type: "echo", Queue: "default", Args: record.Wrap([]byte(`[1]`)), Digest: []byte("0123456789abcdef"),
		Options: []byte(`{"r":3}`), Retention: time.Hour, MaxPending: time.Hour}
}

func one[T any](t *testing.T, list []T, err error) T {
	t.Helper()
	if err != nil || len(list) != 1 {
		t.Fatalf("%v %v", list, err)
	}
	return list[0]
}

func TestDecision44_CreateTable(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, _ *redis.Client) {
		ctx := t.Context()
		create := func(nt record.NewTask) record.CreateStatus {
			t.Helper()
			out, err := s.Create(ctx, nt)
			return one(t, out, err).Status
		}
		other := task("a")
		other.Digest = []byte("another digest !")
		refuse, rerun := task("a"), task("a")
		refuse.OnConflict, rerun.OnConflict = record.Error, record.Rerun
		for i, step := range []struct {
			task record.NewTask
			want record.CreateStatus
		}{{task("a"), record.New}, {task("a"), record.Existing}, {refuse, record.ConflictID}, {other, record.ConflictArgs}, {rerun, record.Existing}} {
			if got := create(step.task); got != step.want {
				t.Fatalf("step %d: %v, want %v", i, got, step.want)
			}
		}
		if _, err := s.Cancel(ctx, "a", &record.Failure{Kind: "cancelled"}); err != nil {
			t.Fatal(err)
		}
		if got := create(task("a")); got != record.Existing {
			t.Fatal(got)
		}
		if got := create(rerun); got != record.New {
			t.Fatal(got)
		}
		out, err := s.Claim(ctx, "w", "n", record.Ref{ID: "a", Number: 1})
		if c := one(t, out, err); c.Status != record.Stale {
			t.Fatalf("the delivery of the run before speaks for the new one: %+v", c)
		}
	})
}

func TestDecision08_TombstoneAndSize(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, rdb *redis.Client) {
		ctx := t.Context()
		nt := task("a")
		nt.Retention = time.Second
		if _, err := s.Create(ctx, nt); err != nil {
			t.Fatal(err)
		}
		if ttl := rdb.PTTL(ctx, s.Keys().Record("a")).Val(); ttl != -1 {
			t.Fatalf("an open record has a TTL: %v", ttl)
		}
		if r, err := s.Cancel(ctx, "a", &record.Failure{Kind: "cancelled", Message: "no"}); err != nil || !r.Accepted || r.State != record.Cancelled {
			t.Fatalf("%+v %v", r, err)
		}
		if n := rdb.StrLen(ctx, s.Keys().Tombstone("a")).Val(); n == 0 || n > 100 {
			t.Fatalf("a tombstone of %d bytes", n)
		}
		poll(t, func() bool {
			in, err := s.Look(ctx, "a")
			return err == nil && in.State == record.Expired
		})
		as, err := s.Watch(ctx, "", []record.Interest{{ID: "a", View: record.Whole}})
		if a := one(t, as, err); a.Status != record.IsExpired {
			t.Fatalf("%+v", a)
		}
		poll(t, func() bool { return rdb.DBSize(ctx).Val() == 0 })
	})
}

// poll waits for a state that Redis' own clock brings about.
func poll(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(15 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}

func TestNoticesAndLateWatch(t *testing.T) {
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
		as, err := s.Watch(ctx, "me", []record.Interest{{ID: "a", View: record.Whole}})
		if err != nil || len(as) > 0 {
			t.Fatalf("what waits and is registered has no answer: %+v, %v", as, err)
		}
		as, err = s.Watch(ctx, "", []record.Interest{{ID: "a", View: record.Whole}})
		if a := one(t, as, err); a.Status != record.Waiting || a.Outcome.State != record.Pending {
			t.Fatalf("%+v", a)
		}
		ref := record.Ref{ID: "a", Number: 1}
		cs, err := s.Claim(ctx, "w", "n", ref)
		one(t, cs, err)
		value := record.Wrap([]byte(`{"a":[],"n":9007199254740993}`))
		if st, err := s.Settle(ctx, "w", ref, record.Outcome{State: record.Succeeded, Value: value, Attempt: 1}); err != nil || !st.Applied {
			t.Fatalf("%+v %v", st, err)
		}
		msg, err := sub.ReceiveMessage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		n, err := parseOne(msg.Payload)
		if err != nil || n.Kind != 't' || n.ID != "a" || n.Outcome == nil || string(n.Outcome.Value) != string(value) || n.Outcome.Worker != "w" {
			t.Fatalf("%+v %v", n, err)
		}
		as, err = s.Watch(ctx, "me", []record.Interest{{ID: "a", View: record.Whole}})
		if a := one(t, as, err); a.Status != record.HasEnded || string(a.Outcome.Value) != string(value) || a.Outcome.Type != "echo" {
			t.Fatalf("%+v", a)
		}
	})
}

func TestDecision08_NotStartedInTime(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, _ *redis.Client) {
		nt := task("a")
		nt.MaxPending = time.Millisecond
		if _, err := s.Create(t.Context(), nt); err != nil {
			t.Fatal(err)
		}
		poll(t, func() bool {
			as, err := s.Watch(t.Context(), "", []record.Interest{{ID: "a", View: record.Whole}})
			a := one(t, as, err)
			return a.Status == record.HasEnded && a.Outcome.State == record.TimedOut && a.Outcome.Failure.Kind == "deadline" && !a.Outcome.Started
		})
	})
}

// model is what one task must look like, in Go.
type model struct {
	exists, cancelled bool
	state             record.State
	number            int64
	holder, nonce     string
	failures          int
}

// The state machine against the scripts: every change names a number and a holder, right or wrong, and only the right one counts.
func TestDecision02_RecordIsTheModel(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, _ *redis.Client) {
		rapid.Check(t, func(rt *rapid.T) {
			ctx := context.Background()
			id := "m-" + uuid.NewString()
			m := model{}
			number := rapid.Int64Range(-1, 1)
			worker := rapid.SampledFrom([]string{"w1", "w2"})
			check := func(op string, got, want bool, err error) {
				if err != nil || got != want {
					rt.Fatalf("%s: %v, want %v (%v); model %+v", op, got, want, err, m)
				}
			}
			rt.Repeat(map[string]func(*rapid.T){
				"create": func(rt *rapid.T) {
					out, err := s.Create(ctx, task(id))
					if err != nil {
						rt.Fatal(err)
					}
					check("create", out[0].Status == record.New, !m.exists, nil)
					if !m.exists {
						m = model{exists: true, state: record.Pending, number: 1}
					}
				},
				"claim": func(rt *rapid.T) {
					w, nonce, n := worker.Draw(rt, "w"), rapid.SampledFrom([]string{"n1", "n2"}).Draw(rt, "nonce"), m.number+number.Draw(rt, "n")
					out, err := s.Claim(ctx, w, nonce, record.Ref{ID: id, Number: n})
					if err != nil {
						rt.Fatal(err)
					}
					fresh := m.state == record.Pending && m.holder == ""
					same := m.state == record.Running && m.holder == w && m.nonce == nonce
					want := m.exists && n == m.number && (fresh || same)
					check("claim", out[0].Status == record.Claimed, want, nil)
					if want {
						m.state, m.holder, m.nonce = record.Running, w, nonce
						if out[0].Attempt != m.failures+1 || out[0].Cancelled != m.cancelled {
							rt.Fatalf("%+v, model %+v", out[0], m)
						}
					}
				},
				"settle": func(rt *rapid.T) {
					w, n := worker.Draw(rt, "w"), m.number+number.Draw(rt, "n")
					st, err := s.Settle(ctx, w, record.Ref{ID: id, Number: n}, record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte("1")), Attempt: m.failures + 1})
					again := m.state == record.Succeeded && m.number == n && m.holder == w
					want := m.state == record.Running && m.number == n && m.holder == w
					check("settle", st.Applied, want || again, err)
					if want {
						m.state = record.Succeeded
					}
				},
				"retry": func(rt *rapid.T) {
					w, n := worker.Draw(rt, "w"), m.number+number.Draw(rt, "n")
					before := m.state
					st, err := s.Retry(ctx, w, record.Ref{ID: id, Number: n}, &record.Failure{Kind: "error", Message: "again"}, time.Hour)
					again := before == record.Retrying && m.number == n && m.nonce == "retried by "+w
					want := before == record.Running && m.number == n && m.holder == w
					check("retry", st.Applied, want || again, err)
					if want && m.cancelled {
						m.state = record.Failed
					} else if want {
						m.state, m.holder, m.nonce = record.Retrying, "", "retried by "+w
						m.failures++
					}
				},
				"giveback": func(rt *rapid.T) {
					w, n := worker.Draw(rt, "w"), m.number+number.Draw(rt, "n")
					st, err := s.GiveBack(ctx, w, record.Ref{ID: id, Number: n}, 0, false)
					want := m.state == record.Running && m.number == n && m.holder == w
					check("giveback", st.Applied, want, err)
					if want && m.cancelled {
						m.state, m.holder = record.Cancelled, ""
					} else if want {
						m.state, m.holder = record.Pending, ""
						m.number++
						if st.HandOver == nil || st.HandOver.Delivery.Refs[0].Number != m.number {
							rt.Fatalf("%+v, model %+v", st.HandOver, m)
						}
					}
				},
				"cancel": func(rt *rapid.T) {
					r, err := s.Cancel(ctx, id, &record.Failure{Kind: "cancelled", Message: "enough"})
					check("cancel", r.Accepted, m.exists && !m.state.Final(), err)
					if m.exists && !m.state.Final() {
						m.cancelled = true
						if m.holder == "" {
							m.state = record.Cancelled
						}
					}
				},
				"": func(rt *rapid.T) {
					in, err := s.Look(ctx, id)
					if err != nil {
						rt.Fatal(err)
					}
					want := m.state
					if want == record.Running && m.cancelled {
						want = record.Cancelling
					}
					if in.State != want {
						rt.Fatalf("record is %q, model %+v", in.State, m)
					}
				},
			})
		})
	})
}

func TestScriptsHaveHeaders(t *testing.T) {
	for _, sc := range append(record.Scripts(), group.Scripts()...) {
		file := "lua/" + sc.Name + ".lua"
		if name, ok := strings.CutPrefix(sc.Name, "group."); ok {
			file = "../group/lua/" + name + ".lua"
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		}
		if src := string(text); !strings.Contains(src, "\n-- KEYS ") || !strings.Contains(src, "\n-- ARGV ") || !strings.Contains(src, "\n-- ANSWER ") {
			t.Errorf("%s: its header must name KEYS, ARGV and ANSWER", sc.Name)
		}
		if strings.Contains(sc.Src, "cjson") || strings.Contains(sc.Src, "cmsgpack") {
			t.Errorf("%s: users' values are opaque to scripts (decision 10)", sc.Name)
		}
	}
}

// parseOne reads a message of one notice.
func parseOne(payload string) (out record.Notice, err error) {
	all := 0
	err = record.ParseNotices([]byte(payload), func(n record.Notice) { out, all = n, all+1 })
	if err == nil && all != 1 {
		err = fmt.Errorf("%d notices", all)
	}
	return out, err
}

// What one command settles for one inbox arrives there as one message, in the order of the ends.
func TestEndsOfOneCommandAreOneMessage(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, rdb *redis.Client) {
		ctx := t.Context()
		sub := rdb.Subscribe(ctx, s.Keys().Inbox("me"), s.Keys().Inbox("you"))
		defer sub.Close()
		for range 2 {
			if _, err := sub.Receive(ctx); err != nil {
				t.Fatal(err)
			}
		}
		var settle *conn.Script
		for _, sc := range record.Scripts() {
			if sc.Name == "settle" {
				settle = sc
			}
		}
		var args []any
		for i, inbox := range []string{"me", "you", "me", "", "me"} {
			id := fmt.Sprint("t", i)
			if _, err := s.Create(ctx, task(id)); err != nil {
				t.Fatal(err)
			}
			if inbox != "" {
				if _, err := s.Watch(ctx, inbox, []record.Interest{{ID: id, View: record.Whole}}); err != nil {
					t.Fatal(err)
				}
			}
			cs, err := s.Claim(ctx, "w", "n", record.Ref{ID: id, Number: 1})
			one(t, cs, err)
			args = append(args, id, 1, "w", "succeeded", record.Wrap([]byte("1")), "", 1)
		}
		if err := rdb.Eval(ctx, settle.Src, []string{s.Keys().Prefix(0)}, args...).Err(); err != nil {
			t.Fatal(err)
		}
		got := map[string][]string{}
		for range 2 {
			msg, err := sub.ReceiveMessage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := record.ParseNotices([]byte(msg.Payload), func(n record.Notice) { got[msg.Channel] = append(got[msg.Channel], n.ID) }); err != nil {
				t.Fatal(err)
			}
		}
		want := map[string][]string{s.Keys().Inbox("me"): {"t0", "t2", "t4"}, s.Keys().Inbox("you"): {"t1"}}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

func FuzzParseNotice(f *testing.F) {
	f.Add([]byte("1:t1:a"))
	f.Add([]byte("1:p1:g2:17"))
	f.Add([]byte("1:m6:1:t1:a14:1:p1:g2:17"))
	f.Fuzz(func(_ *testing.T, b []byte) { _ = record.ParseNotices(b, func(record.Notice) {}) })
}

// Large arguments of many tasks come in several answers, none of which holds Redis up for long.
func TestDecision09_ClaimsOfLargeArguments(t *testing.T) {
	each(t, func(t *testing.T, s *record.Store, rdb *redis.Client) {
		const count, argSize = 8, 400 << 10
		var refs []record.Ref
		for i := range count {
			id := fmt.Sprint("large", i)
			made, err := s.Create(t.Context(), record.NewTask{ID: id, Type: "t", Queue: "q", Args: make([]byte, argSize), Digest: []byte("d"), Retention: time.Hour, MaxPending: time.Hour})
			if err != nil || made[0].Status != record.New {
				t.Fatal(made, err)
			}
			refs = append(refs, record.Ref{ID: id, Number: 1})
		}
		largest := &answerSize{}
		rdb.AddHook(largest)
		claims, err := record.NewStore(conn.New(rdb, slog.New(slog.DiscardHandler)), s.Keys()).Claim(t.Context(), "w", "n", refs...)
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range claims {
			if c.Status != record.Claimed || c.ID != refs[i].ID || len(c.Args) != argSize {
				t.Errorf("%d: %v %s with %d bytes", i, c.Status, c.ID, len(c.Args))
			}
		}
		if n := largest.bytes.Load() / argSize; n != 3 {
			t.Errorf("one answer had the arguments of %d tasks, each of 400 KiB", n)
		}
	})
}
