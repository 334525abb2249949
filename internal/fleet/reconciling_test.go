package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/record"
)

// everything loses one thing of each kind.
func (l *loss) everything() {
	l.Helper()
	gone := l.create("a", "b")
	archived := l.create("archived")
	eaten := l.create("eaten")
	l.gather("tickets", member(), member())
	l.gather("ticketless", member())
	l.create("linked")
	l.gather("unlinked", group.Member{Link: "linked"})
	l.create("ended")
	l.gather("untold", group.Member{Link: "ended"})
	l.create("held")
	_, err := l.records.Claim(l.Context(), "w", "n", record.Ref{ID: "held", Number: 1})
	l.ok(err)
	_, err = l.records.Cancel(l.Context(), "ended", &record.Failure{Kind: "cancelled"})
	l.ok(err)

	ctx := l.Context()
	for _, id := range l.rdb.LRange(ctx, "asynq:{ns:q}:pending", 0, -1).Val() {
		info, err := l.asynq.GetTaskInfo("ns:q", id)
		l.ok(err)
		if id == gone || strings.Contains(string(info.Payload), `"tickets"`) {
			l.ok(l.asynq.DeleteTask("ns:q", id))
		}
	}
	l.ok(l.asynq.ArchiveTask("ns:q", archived))
	l.ok(l.rdb.LRem(ctx, "asynq:{ns:q}:pending", 1, eaten).Err())
	l.ok(l.rdb.HSet(ctx, "asynq:{ns:q}:t:"+eaten, "state", "retry").Err())
	l.ok(l.rdb.ZAdd(ctx, "asynq:{ns:q}:retry", redis.Z{Member: eaten, Score: float64(time.Now().Add(time.Hour).Unix())}).Err())
	l.ok(l.rdb.HDel(ctx, l.keys.Record("ticketless"), "t0").Err())
	l.ok(l.rdb.HDel(ctx, l.keys.Record("linked"), "l").Err())
	l.ok(l.rdb.Del(ctx, l.keys.Outbox(0), l.keys.Outbox(1)).Err())
	l.ok(l.rdb.HIncrBy(ctx, l.keys.Record("ended"), "fa", -untoldMillis).Err())
}

// due does what the promoter does.
func (l *loss) due() {
	l.Helper()
	for shard := range l.keys.Shards() {
		d, err := l.records.Due(l.Context(), shard, 1000)
		l.ok(err)
		l.ok(l.carrier.HandOver(l.Context(), l.records, d.HandOvers))
		for _, g := range d.Groups {
			l.ok(l.groups.Sweep(l.Context(), g.ID))
		}
	}
}

// mended wants everything that was lost to be on its way again, or to have ended; most numbers may be used up on the way.
func (l *loss) mended() {
	l.Helper()
	there := l.deliveries()
	for _, id := range []string{"a", "b", "eaten"} {
		in := l.look(id)
		if in.State != record.Pending || in.Number < 2 || in.Number > 3 || in.Attempt != 1 || in.Crashes != 0 || there[id] != in.Number {
			l.Errorf("%s: %+v, in the queue with number %d", id, in, there[id])
		}
	}
	if in := l.look("archived"); in.State != record.Cancelled || in.Failure.Message != "archived in asynq" {
		l.Errorf("%+v", in)
	}
	for entry, gid := range map[string]string{"#0:tickets": "tickets", "#1:tickets": "tickets", "#0:ticketless": "ticketless"} {
		field := l.rdb.HGet(l.Context(), l.keys.Record(gid), "t"+entry[1:2]).Val()
		if !strings.HasPrefix(field, fmt.Sprintf("%d;;;;", there[entry])) {
			l.Errorf("%s: %q, in the queue with number %d", entry, field, there[entry])
		}
	}
	if !l.rdb.HExists(l.Context(), l.keys.Record("linked"), "l").Val() {
		l.Error("not linked")
	}
	if in := l.look("untold"); in.State != record.Cancelled {
		l.Errorf("%+v", in)
	}
	if l.rdb.ZScore(l.Context(), l.keys.Workers(), "w").Err() != nil || l.look("held").Worker != "w" {
		l.Error("the holder is on no list")
	}
}

// A reconciler that dies behind any of its commands leaves nothing that the next pass, and whoever looks at what is due, does not mend.
func TestDecision07_AReconcilerMayDieAnywhere(t *testing.T) {
	for commands := int64(1); ; commands++ {
		alive := false
		synctest.Test(t, func(t *testing.T) {
			rdb, _ := start(t)
			l := newLoss(t, rdb)
			l.everything()
			ctx, die := context.WithCancel(t.Context())
			defer die()
			own := redis.NewClient(rdb.Options())
			defer own.Close()
			d := &dying{die: die}
			d.left.Store(commands)
			own.AddHook(d)
			alive = l.reconciler(conn.New(own, slog.New(slog.DiscardHandler))).Pass(ctx) == nil && d.left.Load() > 0
			time.Sleep(3 * time.Second) // what nobody marked is due
			l.due()
			l.ok(l.looks.Pass(t.Context()))
			time.Sleep(3 * time.Second)
			l.due()
			l.mended()
			for kind, n := range map[Repair]uint64{RepairArchived: 1, RepairTicket: 1, RepairUnlisted: 1} {
				if l.repairs.Counts()[kind] > n {
					t.Errorf("%s: %d times, want %d at most", kind, l.repairs.Counts()[kind], n)
				}
			}
		})
		if t.Failed() {
			t.Fatalf("after %d commands", commands)
		}
		if alive {
			t.Logf("a reconciler that nobody kills sends fewer than %d commands", commands)
			if commands < 20 {
				t.Error("that are too few to be true")
			}
			return
		}
	}
}

// Any number of reconcilers, at once and of an earlier time, do what one does.
func TestDecision07_AnyNumberOfReconcilersDoNoHarm(t *testing.T) {
	onLoss(t, func(l *loss) {
		l.everything()
		errs := make(chan error)
		for range 8 {
			r := l.reconciler(l.conn)
			go func() { errs <- r.Pass(l.Context()) }()
		}
		for range 8 {
			l.ok(<-errs)
		}
		l.mended()
		want := map[Repair]uint64{
			RepairVanished: 4, RepairAstray: 1, RepairArchived: 1, RepairTicket: 1, RepairLink: 1, RepairUntold: 1, RepairUnlisted: 1,
		}
		for kind, n := range want {
			if l.repairs.Counts()[kind] != n {
				l.Errorf("%s: %d times, want %d", kind, l.repairs.Counts()[kind], n)
			}
		}
	})
}

// machine is one task, its deliveries in asynq, workers, and reconcilers of which each may be paused between its look and its act.
type machine struct {
	*loss
	next    int                   // makes messages' IDs
	there   map[string]record.Ref // messages in the queue
	flights []record.HandOver     // enqueued, not yet marked
	looks   []record.HandOver     // what reconcilers saw waiting for messages that were gone
	claims  map[int64]bool        // numbers that were claimed
	holder  *record.Ref           // what worker w runs
	ended   record.State          // what was recorded first
}

func (m *machine) enqueue(ref record.Ref) record.HandOver {
	m.next++
	h := record.HandOver{Queue: "q", Delivery: record.Delivery{Refs: []record.Ref{ref}}, Message: fmt.Sprint("m", m.next)}
	m.there[h.Message] = ref
	return h
}

func (m *machine) take(t *rapid.T) (message string, ref record.Ref, ok bool) {
	if len(m.there) == 0 {
		return "", ref, false
	}
	var ids []string
	for i := 1; i <= m.next; i++ {
		if id := fmt.Sprint("m", i); m.there[id].Number > 0 {
			ids = append(ids, id)
		}
	}
	message = rapid.SampledFrom(ids).Draw(t, "message")
	return message, m.there[message], true
}

// The scripts that redeliver compare and set: in any order of claims, hand-backs, losses and of reconcilers that act late, a delivery is claimed
// once, what a worker holds is never taken from it, nothing ends twice, and what waits in the end is found.
func TestDecision07_WhatReconcilersDoIsComparedAndSet(t *testing.T) {
	rdb, _ := start(t)
	l := newLoss(t, rdb)
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		id := fmt.Sprint("task", runs)
		shard := l.keys.Shard(id)
		ctx := l.Context()
		m := &machine{loss: l, there: map[string]record.Ref{}, claims: map[int64]bool{}}
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		_, err := l.records.Create(ctx, newTask(id, "q"))
		must(err)
		m.flights = append(m.flights, m.enqueue(record.Ref{ID: id, Number: 1}))
		// see is the half of a reconciler that only looks.
		see := func() {
			sent, err := l.records.Sent(ctx, shard, []string{id})
			must(err)
			m.looks = append(m.looks, sent.Waiting...)
		}
		// gone draws one of what was seen, whose message is gone by now: it may have been claimed since.
		gone := func(t *rapid.T) (h record.HandOver, ok bool) {
			if len(m.looks) == 0 {
				return h, false
			}
			h = rapid.SampledFrom(m.looks).Draw(t, "seen") // also by one that was paused, also twice
			return h, m.there[h.Message].Number == 0
		}
		again := func(h record.HandOver) {
			before := l.look(id)
			hs, err := l.records.Again(ctx, shard, []record.HandOver{h})
			must(err)
			if len(hs) > 0 && (m.holder != nil || before.State != record.Pending || hs[0].Delivery.Refs[0].Number != before.Number+1) {
				t.Fatalf("taken from %+v: %+v", before, hs)
			}
			for _, ref := range m.there {
				if len(hs) > 0 && ref.Number == before.Number {
					t.Fatalf("delivered again though a delivery is there: %+v", before)
				}
			}
			for _, h := range hs {
				m.flights = append(m.flights, m.enqueue(h.Delivery.Refs[0]))
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"mark": func(t *rapid.T) {
				if len(m.flights) == 0 {
					return
				}
				i := rapid.IntRange(0, len(m.flights)-1).Draw(t, "which")
				must(l.records.Mark(ctx, m.flights[i]))
				m.flights = append(m.flights[:i], m.flights[i+1:]...)
			},
			"claim": func(t *rapid.T) {
				if m.holder != nil {
					return
				}
				message, ref, ok := m.take(t)
				if !ok {
					return
				}
				cl, err := l.records.Claim(ctx, "w", message, ref)
				must(err)
				delete(m.there, message)
				if cl[0].Status == record.Claimed {
					if m.claims[ref.Number] {
						t.Fatalf("number %d was claimed twice", ref.Number)
					}
					m.claims[ref.Number], m.holder = true, &ref
				}
			},
			"hand back": func(t *rapid.T) {
				message, ref, ok := m.take(t)
				if !ok {
					return
				}
				h := m.enqueue(ref)
				must(l.conn.All(ctx, l.records.HandBackCalls(h)...))
				delete(m.there, message) // acknowledged
			},
			"lose": func(t *rapid.T) {
				message, _, _ := m.take(t)
				delete(m.there, message)
			},
			"look": func(*rapid.T) { see() },
			"act": func(t *rapid.T) {
				if h, ok := gone(t); ok {
					again(h)
				}
			},
			"give back": func(t *rapid.T) {
				if m.holder == nil {
					return
				}
				s, err := l.records.GiveBack(ctx, "w", *m.holder, 0, false)
				must(err)
				if !s.Applied || s.HandOver == nil {
					t.Fatalf("what w holds cannot be given back: %+v", s)
				}
				m.holder = nil
				m.flights = append(m.flights, m.enqueue(s.HandOver.Delivery.Refs[0]))
			},
			"settle": func(t *rapid.T) {
				if m.holder == nil || !rapid.Bool().Draw(t, "now") {
					return
				}
				s, err := l.records.Settle(ctx, "w", *m.holder, record.Outcome{State: record.Succeeded, Value: []byte("1"), Attempt: 1})
				must(err)
				if !s.Applied || m.ended != "" {
					t.Fatalf("what w holds cannot be settled: %+v", s)
				}
				m.holder, m.ended = nil, record.Succeeded
			},
			"archive": func(t *rapid.T) {
				h, ok := gone(t)
				if !ok || rapid.IntRange(0, 3).Draw(t, "rarely") > 0 {
					return
				}
				n, _, _, err := l.records.Archived(ctx, shard, []record.HandOver{h}, &record.Failure{Kind: "cancelled"})
				must(err)
				if n > 0 && (m.holder != nil || m.ended != "") {
					t.Fatalf("ended what was not waiting")
				}
				if n > 0 {
					m.ended = record.Cancelled
				}
			},
			"": func(t *rapid.T) {
				in := l.look(id)
				switch {
				case m.ended != "" && in.State != m.ended, m.holder != nil && (in.State != record.Running || in.Number != m.holder.Number), in.Attempt != 1 || in.Crashes != 0:
					t.Fatalf("%+v, held %v, ended %q", in, m.holder, m.ended)
				}
			},
		})
		// In the end: all marks arrive, a reconciler looks once more, and there is a delivery with the current number.
		must(l.records.Mark(ctx, m.flights...))
		m.looks = nil
		see()
		for _, h := range m.looks {
			if m.there[h.Message].Number == 0 {
				again(h)
			}
		}
		if in := l.look(id); in.State == record.Pending {
			for _, ref := range m.there {
				if ref.Number == in.Number {
					return
				}
			}
			t.Fatalf("it waits for ever: %+v, in the queue %v", in, m.there)
		}
	})
}
