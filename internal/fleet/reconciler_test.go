package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// loss is a fleet without workers, in two shards, where something gets lost.
type loss struct {
	*testing.T
	rdb     *redis.Client
	conn    *conn.Conn
	keys    keys.Space
	records *record.Store
	groups  *group.Store
	carrier *carrier.Carrier
	asynq   *asynq.Inspector
	looks   *Reconciler

	repairs Repairs
}

func newLoss(t *testing.T, rdb *redis.Client) *loss {
	t.Helper()
	c, k := conn.New(rdb, slog.New(slog.DiscardHandler)), keys.New("ns", 2)
	records := record.NewStore(c, k)
	l := &loss{
		T: t, rdb: rdb, conn: c, keys: k, records: records, groups: group.NewStore(records), carrier: carrier.New(c, k, nobody),
		asynq: asynq.NewInspectorFromRedisClient(rdb),
	}
	l.looks = l.reconciler(c)
	return l
}

// reconciler returns one that works over a connection of its own.
func (l *loss) reconciler(c *conn.Conn) *Reconciler {
	records := record.NewStore(c, l.keys)
	groups := group.NewStore(records)
	outbox := NewOutbox(OutboxConfig{Deliver: groups.DeliverOutbox, Log: slog.New(slog.DiscardHandler)})
	l.Cleanup(outbox.Close)
	return NewReconciler(ReconcilerConfig{
		Conn: c, Keys: l.keys, Records: records, Groups: groups, Carrier: carrier.New(c, l.keys, nobody), Outbox: outbox,
		Repairs: &l.repairs, Log: slog.New(slog.DiscardHandler),
	})
}

func (l *loss) ok(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// pass lets the reconciler look once, and wants these repairs since the test's beginning.
func (l *loss) pass(want map[Repair]uint64) {
	l.Helper()
	l.ok(l.looks.Pass(l.Context()))
	got := l.repairs.Counts()
	maps.DeleteFunc(got, func(_ Repair, n uint64) bool { return n == 0 })
	if !maps.Equal(got, want) {
		l.Errorf("repaired %v, want %v", got, want)
	}
}

func newTask(id, queue string) record.NewTask {
	return record.NewTask{ID: id, Type: "echo", Queue: queue, Args: record.Wrap([]byte("1")), Digest: []byte("d"), Retention: time.Hour, MaxPending: time.Hour}
}

func first(queue string, ids ...string) record.HandOver {
	h := record.HandOver{Queue: queue}
	for _, id := range ids {
		h.Delivery.Refs = append(h.Delivery.Refs, record.Ref{ID: id, Number: 1})
	}
	return h
}

// create creates tasks that wait for one delivery together, and returns its message.
func (l *loss) create(ids ...string) (message string) {
	l.Helper()
	for _, id := range ids {
		_, err := l.records.Create(l.Context(), newTask(id, "q"))
		l.ok(err)
	}
	hs := []record.HandOver{first("q", ids...)}
	hs[0].Alone = true // it goes out as it is
	l.ok(l.carrier.HandOver(l.Context(), l.records, hs))
	return hs[0].Message
}

func (l *loss) look(id string) record.Info {
	l.Helper()
	in, err := l.records.Look(l.Context(), id)
	l.ok(err)
	return in
}

func member() group.Member {
	return group.Member{
		Profile: &group.Profile{Type: "echo", Queue: "q", Retention: time.Hour, MaxPending: time.Hour}, Args: record.Wrap([]byte("1")), Digest: []byte("d"),
	}
}

func (l *loss) gather(id string, members ...group.Member) {
	l.Helper()
	st := l.groups.Stage(group.Spec{ID: id, Queue: "q", Retention: time.Hour, MaxPending: time.Hour})
	for _, m := range members {
		l.ok(st.Add(l.Context(), m))
	}
	_, err := st.Commit(l.Context(), l.carrier)
	l.ok(err)
}

// deliveries are the references and tickets that lie in the queue, with their highest numbers.
func (l *loss) deliveries() map[string]int64 {
	l.Helper()
	out := map[string]int64{}
	for _, id := range l.rdb.LRange(l.Context(), "asynq:{ns:q}:pending", 0, -1).Val() {
		info, err := l.asynq.GetTaskInfo("ns:q", id)
		l.ok(err)
		d, err := record.DecodeDelivery(info.Payload)
		l.ok(err)
		for _, r := range d.Refs {
			out[r.ID] = max(out[r.ID], r.Number)
		}
		if d.Ticket != nil {
			entry := fmt.Sprintf("#%d:%s", d.Ticket.Place, d.Ticket.Group)
			out[entry] = max(out[entry], d.Ticket.Number)
		}
	}
	return out
}

// wantAgain wants the tasks to wait for their second delivery, which is in the queue and marked.
func (l *loss) wantAgain(ids ...string) {
	l.Helper()
	there := l.deliveries()
	for _, id := range ids {
		in := l.look(id)
		if in.State != record.Pending || in.Number != 2 || in.Attempt != 1 || in.Crashes != 0 || !in.Marked || there[id] != 2 {
			l.Errorf("%s: %+v, in the queue with number %d", id, in, there[id])
		}
	}
}

// onLoss runs a test on the embedded Redis and on an installed one.
func onLoss(t *testing.T, test func(l *loss)) {
	onEach(t, func(t *testing.T, s *redistest.Server) { test(newLoss(t, s.Client(t))) })
}

func TestDecision23_AVanishedDeliveryIsMadeAgain(t *testing.T) {
	for name, lose := range map[string]func(l *loss, message string){
		"deleted":          func(l *loss, m string) { l.ok(l.asynq.DeleteTask("ns:q", m)) },
		"all of them":      func(l *loss, _ string) { l.ok(l.asynq.DeleteQueue("ns:q", true)) },
		"out of the list":  func(l *loss, m string) { l.ok(l.rdb.LRem(l.Context(), "asynq:{ns:q}:pending", 1, m).Err()) },
		"without its list": func(l *loss, m string) { l.ok(l.rdb.Del(l.Context(), "asynq:{ns:q}:t:"+m).Err()) },
	} {
		t.Run(name, func(t *testing.T) {
			onLoss(t, func(l *loss) {
				m := l.create("a", "b")
				l.pass(map[Repair]uint64{})
				lose(l, m)
				kind := RepairVanished
				if name == "out of the list" {
					kind = RepairAstray
				}
				l.pass(map[Repair]uint64{kind: 2})
				if name == "without its list" {
					l.rdb.LRem(l.Context(), "asynq:{ns:q}:pending", 1, m) // Inspector stumbles over it
				}
				l.wantAgain("a", "b")
				if n := l.rdb.Exists(l.Context(), "asynq:{ns:q}:t:"+m).Val(); n != 0 {
					l.Error("the lost message left something")
				}
				l.pass(map[Repair]uint64{kind: 2}) // and now nothing is lost
			})
		})
	}
}

// Nothing happens to what waits, whatever it waits for: in a queue that is paused, for its time, in hands, handed back.
func TestDecision23_WhatIsNotLostStaysAsItIs(t *testing.T) {
	onLoss(t, func(l *loss) {
		l.create("pending")
		l.create("claimed")
		_, err := l.records.Claim(l.Context(), "w", "n", record.Ref{ID: "claimed", Number: 1})
		l.ok(err)
		l.ok(l.rdb.ZAdd(l.Context(), l.keys.Workers(), redis.Z{Member: "w", Score: 1}).Err())
		m := l.create("back")
		l.ok(l.carrier.HandBack(l.Context(), l.records, first("q", "back")))
		l.ok(l.records.Mark(l.Context(), record.HandOver{Delivery: first("q", "back").Delivery, Message: m})) // its creator's mark, late
		l.ok(l.asynq.DeleteTask("ns:q", m))
		_, err = l.records.Create(l.Context(), newTask("unmarked", "q"))
		l.ok(err)
		later := newTask("later", "q")
		later.Delay = time.Hour
		_, err = l.records.Create(l.Context(), later)
		l.ok(err)
		l.gather("g", member(), member())
		l.ok(l.asynq.PauseQueue("ns:q"))
		for range 2 {
			l.pass(map[Repair]uint64{})
		}
		for _, id := range []string{"pending", "claimed", "back", "unmarked"} {
			if in := l.look(id); in.Number != 1 {
				l.Errorf("%+v", in)
			}
		}
		if in := l.look("later"); in.Number != 0 || in.State != record.Scheduled {
			l.Errorf("%+v", in)
		}
	})
}

func TestDecision23_ADeliveryArchivedByHandIsCancelled(t *testing.T) {
	onLoss(t, func(l *loss) {
		m := l.create("a", "b")
		l.ok(l.asynq.ArchiveTask("ns:q", m))
		l.pass(map[Repair]uint64{RepairArchived: 2})
		for _, id := range []string{"a", "b"} {
			in := l.look(id)
			if in.State != record.Cancelled || in.Failure == nil || in.Failure.Kind != "cancelled" || in.Failure.Message != "archived in asynq" || in.Attempt != 1 {
				l.Errorf("%+v %+v", in, in.Failure)
			}
		}
		// It stays where its user has put it, and does nothing when it is run from there.
		l.ok(l.asynq.RunTask("ns:q", m))
		if cl, err := l.records.Claim(l.Context(), "w", "n", record.Ref{ID: "a", Number: 1}); err != nil || cl[0].Status != record.Ended {
			l.Errorf("%+v %v", cl, err)
		}
		l.pass(map[Repair]uint64{RepairArchived: 2})
	})
}

func TestDecision23_ATicketArchivedByHandCancelsItsGroup(t *testing.T) {
	onLoss(t, func(l *loss) {
		l.gather("g", member(), member(), member())
		_, err := l.asynq.ArchiveAllPendingTasks("ns:q")
		l.ok(err)
		l.pass(map[Repair]uint64{RepairArchived: 1})
		in := l.look("g")
		if in.State != record.Cancelled || in.Counts[record.Cancelled] != 3 {
			l.Errorf("%+v", in)
		}
	})
}

// Another server of asynq's that serves our queue fails on what it gets, and waits with it.
func TestDecision23_AForeignServerEatsADelivery(t *testing.T) {
	onLoss(t, func(l *loss) {
		l.create("a", "b")
		srv := asynq.NewServerFromRedisClient(l.rdb, asynq.Config{
			Queues: map[string]int{"ns:q": 1}, TaskCheckInterval: time.Millisecond, LogLevel: asynq.FatalLevel,
		})
		l.ok(srv.Start(asynq.NewServeMux()))
		poll(l.T, "eaten", func() bool { return l.rdb.ZCard(l.Context(), "asynq:{ns:q}:retry").Val() == 1 })
		srv.Shutdown()
		l.pass(map[Repair]uint64{RepairAstray: 2})
		l.wantAgain("a", "b")
		if n := l.rdb.ZCard(l.Context(), "asynq:{ns:q}:retry").Val(); n != 0 {
			l.Error("the old delivery comes again")
		}
	})
}

// One whose handler takes what it gets for a success leaves nothing; one that goes on for long keeps it.
func TestDecision23_AForeignServerTakesADelivery(t *testing.T) {
	onLoss(t, func(l *loss) {
		l.create("a")
		goOn := make(chan struct{})
		srv := asynq.NewServerFromRedisClient(l.rdb, asynq.Config{
			Queues: map[string]int{"ns:q": 1}, Concurrency: 1, TaskCheckInterval: time.Millisecond, LogLevel: asynq.FatalLevel,
		})
		l.ok(srv.Start(asynq.HandlerFunc(func(context.Context, *asynq.Task) error { <-goOn; return nil })))
		poll(l.T, "taken", func() bool { return l.rdb.LLen(l.Context(), "asynq:{ns:q}:active").Val() == 1 })
		l.pass(map[Repair]uint64{})                // it may be ours, about to claim
		l.pass(map[Repair]uint64{RepairAstray: 1}) // that is too long
		l.wantAgain("a")
		m := l.create("b")
		l.ok(l.asynq.DeleteTask("ns:q", m))
		l.pass(map[Repair]uint64{RepairAstray: 1, RepairVanished: 1})
		close(goOn)
		srv.Shutdown()
	})
}

func TestDecision36_ATicketWhoseDeliveryVanishedIsMadeAgain(t *testing.T) {
	onLoss(t, func(l *loss) {
		l.gather("g", member(), member())
		_, err := l.asynq.DeleteAllPendingTasks("ns:q")
		l.ok(err)
		l.pass(map[Repair]uint64{RepairVanished: 2})
		if there := l.deliveries(); there["#0:g"] < 3 || there["#1:g"] < 3 {
			l.Errorf("%v", there)
		}
		l.pass(map[Repair]uint64{RepairVanished: 2})
	})
}

func TestDecision36_AGroupWithoutALiveTicketGetsOne(t *testing.T) {
	onLoss(t, func(l *loss) {
		l.gather("g", member(), member())
		l.ok(l.rdb.HDel(l.Context(), l.keys.Record("g"), "t0", "t1").Err())
		l.pass(map[Repair]uint64{RepairTicket: 1})
		number := l.rdb.HGet(l.Context(), l.keys.Record("g"), "t0").Val()
		l.rdb.LTrim(l.Context(), "asynq:{ns:q}:pending", 0, 0) // the old ones are nobody's
		if there := l.deliveries()["#0:g"]; number != fmt.Sprintf("%d;;;;%s", there, l.rdb.LIndex(l.Context(), "asynq:{ns:q}:pending", 0).Val()) {
			l.Errorf("%s, in the queue with number %d", number, there)
		}
		p, _, err := l.groups.Next(l.Context(), "w", record.Ticket{Group: "g", Nonce: l.rdb.HGet(l.Context(), l.keys.Record("g"), "no").Val(), Number: l.deliveries()["#0:g"]}, "n", 2, 0, nil)
		l.ok(err)
		if p.Status != group.GotRange || len(p.Range.Members) != 2 {
			l.Errorf("%+v", p)
		}
		l.ok(l.rdb.ZAdd(l.Context(), l.keys.Workers(), redis.Z{Member: "w", Score: 1}).Err())
		l.pass(map[Repair]uint64{RepairTicket: 1})
	})
}

func TestDecision07_ALostLinkIsWrittenAgain(t *testing.T) {
	onLoss(t, func(l *loss) {
		l.create("a")
		l.create("b")
		l.gather("inner", member())
		l.gather("g", group.Member{Link: "a"}, group.Member{Link: "b"}, group.Member{Link: "inner"}, group.Member{Link: "inner", LinkSettled: true}, group.Member{Link: "inner:0"})
		l.pass(map[Repair]uint64{})
		l.ok(l.rdb.HDel(l.Context(), l.keys.Record("b"), "l").Err())
		l.ok(l.rdb.HDel(l.Context(), l.keys.Record("inner"), "lo", "lb").Err())
		l.ok(l.rdb.Del(l.Context(), l.keys.PrefixOf("inner")+"m:inner").Err())
		l.pass(map[Repair]uint64{RepairLink: 4})
		_, err := l.records.Cancel(l.Context(), "b", &record.Failure{Kind: "cancelled"})
		l.ok(err)
		l.ok(l.groups.DeliverOutbox(l.Context(), l.keys.Shard("b")))
		if in := l.look("g"); in.Counts[record.Cancelled] != 1 || in.State != record.Cancelled {
			l.Errorf("%+v", in)
		}
		l.pass(map[Repair]uint64{RepairLink: 4})
	})
}

func TestDecision07_AnEndThatNobodyToldIsTold(t *testing.T) {
	onLoss(t, func(l *loss) {
		l.create("a")
		l.create("gone")
		l.gather("g", group.Member{Link: "a"}, group.Member{Link: "gone"})
		_, err := l.records.Cancel(l.Context(), "a", &record.Failure{Kind: "cancelled", Message: "why"})
		l.ok(err)
		l.ok(l.rdb.Del(l.Context(), l.keys.Outbox(0), l.keys.Outbox(1)).Err())
		l.pass(map[Repair]uint64{}) // whoever settled may be about to tell
		if l.rdb.HGet(l.Context(), l.keys.Record("a"), "fa").Err() != nil {
			l.Fatal("no time of its end")
		}
		l.ok(l.rdb.HIncrBy(l.Context(), l.keys.Record("a"), "fa", -untoldMillis).Err())
		l.pass(map[Repair]uint64{RepairUntold: 1})
		l.ok(l.rdb.Del(l.Context(), l.keys.Record("gone")).Err())
		l.pass(map[Repair]uint64{RepairUntold: 2})
		outs, err := l.groups.ByIndex(l.Context(), "g", 0, 2)
		l.ok(err)
		if outs[0].State != record.Cancelled || outs[0].Failure.Message != "why" || outs[1].State != record.Lost || outs[1].Failure.Kind != "lost" {
			l.Errorf("%+v", outs)
		}
		if in := l.look("g"); in.State != record.Cancelled {
			l.Errorf("%+v", in)
		}
	})
}

const untoldMillis = 6000

// A worker that holds a task, a range and a ticket, and of which nothing else is known, is put before the reaper.
func TestDecision07_HoldingsOfAWorkerInNoList(t *testing.T) {
	for _, revived := range []bool{false, true} {
		t.Run(fmt.Sprint("revived before: ", revived), func(t *testing.T) {
			s := newScene(t, "ns")
			if revived {
				s.ok(s.groups.Revive(t.Context(), "w", 7))
			}
			l := newLoss(t, s.rdb)
			l.ok(s.rdb.Del(t.Context(), s.keys.Worker("w"), s.keys.Workers()).Err())
			l.pass(map[Repair]uint64{RepairUnlisted: 1})
			l.pass(map[Repair]uint64{RepairUnlisted: 1})
			late := silent
			var err error
			late.Beat, err = s.rdb.HGet(t.Context(), s.keys.Worker("w"), "n").Int64()
			s.ok(err)
			s.ok(s.reaper("survivor", s.conn).examine(t.Context(), late))
			if !s.buried() {
				t.Error("it is still there")
			}
			s.check()
		})
	}
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it does not come: ", what)
		}
	}
}
