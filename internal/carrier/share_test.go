package carrier

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

func TestDecision38_ADeliveryIsSharedByWhatOneWorkerCanTake(t *testing.T) {
	for _, tt := range []struct {
		crew        Crew
		total, want int
	}{
		{Crew{}, 1, soloShare},
		{Crew{}, 500, soloShare},
		{Crew{Workers: 1, Slots: 64}, 500, 64},
		{Crew{Workers: 1, Slots: 1000}, 500, record.MaxRefs},
		{Crew{Workers: 1, Slots: 10}, 500, 10},
		{Crew{Workers: 1, Slots: 64}, 5, 5},
		{Crew{Workers: 4, Slots: 64}, 100, 25},
		{Crew{Workers: 4, Slots: 64}, 101, 26},
		{Crew{Workers: 200, Slots: 64}, 100, 1},
		{Crew{Workers: 2, Slots: 0}, 100, 1},
	} {
		c := New(conn.New(&redis.Client{}, quiet), keys.New("n", 1), func(string) Crew { return tt.crew })
		if got := (share{carrier: c, queue: "q"}).Limit(tt.total); got != tt.want {
			t.Errorf("%+v, %d tasks: %d in a delivery, want %d", tt.crew, tt.total, got, tt.want)
		}
	}
}

// pendingRefs are the tasks of each message of a queue, the head first.
func pendingRefs(t *testing.T, rdb *redis.Client, queue string) (ids [][]string) {
	t.Helper()
	prefix := "asynq:{n:" + queue + "}:"
	list := rdb.LRange(t.Context(), prefix+"pending", 0, -1).Val()
	slices.Reverse(list)
	for _, id := range list {
		d, ok := Message([]byte(rdb.HGet(t.Context(), prefix+"t:"+id, "msg").Val()))
		if !ok {
			t.Fatalf("message %s is no delivery", id)
		}
		var refs []string
		for _, r := range d.Refs {
			refs = append(refs, r.ID)
		}
		ids = append(ids, refs)
	}
	return ids
}

func TestDecision38_TasksThatLeaveTogetherShareDeliveries(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb := dial()
		c := New(conn.New(rdb, quiet), keys.New("n", 1), func(string) Crew { return Crew{Workers: 1, Slots: 64} })
		if err := c.Enqueue(t.Context(), tasks("warm", 1)); err != nil { // Redis has the scripts: what is sent again rings again
			t.Fatal(err)
		}
		ticket := record.HandOver{Queue: "q", Delivery: record.Delivery{Ticket: &record.Ticket{Group: "g", Nonce: "n", Place: 1, Number: 1}}}
		for i := range 9 { // who is parked
			rdb.ZAdd(t.Context(), c.keys.Parked("q"), redis.Z{Score: float64(time.Now().Add(time.Hour).UnixMilli()), Member: fmt.Sprint(i)})
		}
		hs := append(append(tasks("q", 150), ticket), tasks("other", 3)...)
		if err := c.Enqueue(t.Context(), hs); err != nil {
			t.Fatal(err)
		}
		var sizes []int
		var all []string
		for _, refs := range pendingRefs(t, rdb, "q") {
			sizes, all = append(sizes, len(refs)), append(all, refs...)
		}
		if !slices.Equal(sizes, []int{64, 64, 22, 0}) {
			t.Errorf("deliveries of %v tasks", sizes)
		}
		for i, id := range all {
			if id != fmt.Sprintf("q-%d", i) {
				t.Fatalf("task %d of the deliveries is %s", i, id)
			}
		}
		if got := pendingRefs(t, rdb, "other"); len(got) != 1 || len(got[0]) != 3 {
			t.Errorf("the other queue's deliveries: %v", got)
		}
		// One ring for each delivery: three of tasks, one ticket.
		if n := rdb.LLen(t.Context(), c.keys.Bell("q")).Val(); n != 4 {
			t.Errorf("it rang for %d workers", n)
		}
	})
}

func TestDecision05_ASuspectSharesItsDeliveryWithNone(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb := dial()
		c := New(conn.New(rdb, quiet), keys.New("n", 1), func(string) Crew { return Crew{Workers: 1, Slots: 64} })
		hs := tasks("q", 5)
		hs[1].Alone, hs[3].Alone = true, true
		if err := c.Enqueue(t.Context(), hs); err != nil {
			t.Fatal(err)
		}
		for _, refs := range pendingRefs(t, rdb, "q") {
			if len(refs) > 1 && (slices.Contains(refs, "q-1") || slices.Contains(refs, "q-3")) {
				t.Errorf("in one delivery: %v", refs)
			}
		}
	})
}

func TestDecision38_WhatIsHandedBackIsTheHead(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb := dial()
		c := carrierOf(rdb)
		store := record.NewStore(c.conn, c.keys)
		for _, h := range tasks("q", 2) {
			if err := c.Enqueue(t.Context(), []record.HandOver{h}); err != nil {
				t.Fatal(err)
			}
		}
		back := record.HandOver{Queue: "q", Delivery: record.Delivery{Refs: []record.Ref{{ID: "a", Number: 1}, {ID: "b", Number: 2}}}}
		if err := c.HandBack(t.Context(), store, back); err != nil {
			t.Fatal(err)
		}
		if err := c.HandBack(t.Context(), store, record.HandOver{Queue: "q", Delivery: record.Delivery{Ticket: &record.Ticket{Group: "g", Nonce: "n", Number: 1}}}); err != nil {
			t.Fatal(err)
		}
		// A ticket goes to the tail, or those of a gather that is never committed would keep out all others.
		if got := pendingRefs(t, rdb, "q"); fmt.Sprint(got) != "[[a b] [q-0] [q-1] []]" {
			t.Errorf("from the head: %v", got)
		}
	})
}

// Who holds what others wait for goes before them: each by itself, since one worker might not take all.
func TestDecision28_WhoHoldsAPermitIsTheHead(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb := dial()
		c := carrierOf(rdb)
		if err := c.Enqueue(t.Context(), tasks("q", 1)); err != nil {
			t.Fatal(err)
		}
		hs := []record.HandOver{
			{Queue: "q", First: true, Delivery: record.Delivery{Refs: []record.Ref{{ID: "a", Number: 1}}}},
			{Queue: "q", Delivery: record.Delivery{Ticket: &record.Ticket{Group: "g", Nonce: "n", Number: 1}}},
			{Queue: "q", First: true, Alone: true, Delivery: record.Delivery{Refs: []record.Ref{{ID: "b", Number: 1}}}},
		}
		if err := c.Enqueue(t.Context(), hs); err != nil {
			t.Fatal(err)
		}
		if got := pendingRefs(t, rdb, "q"); fmt.Sprint(got) != "[[b] [a] [q-0] []]" {
			t.Errorf("from the head: %v", got)
		}
	})
}

func TestDecision41_TheGateAsksForAsManyAsItHasSlots(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		const count, slots = 200, 8
		rdb, log := dial(), &sent{}
		c := carrierOf(dial())
		if err := c.Enqueue(t.Context(), tasks("q", count)); err != nil {
			t.Fatal(err)
		}
		rdb.AddHook(log)
		s := slotsOf(slots)
		box := inboxOf(s)
		serve(t, carrierOf(rdb), ServeConfig{Queues: map[string]int{"q": 1}, Slots: s, Handle: func(queue string, payload []byte) error {
			if n := s.taken(); n > slots {
				t.Errorf("%d slots are taken", n)
			}
			return box.handle(queue, payload)
		}})
		eventually(t, "all handled", func() bool { return box.len() == count })
		most := 0
		for _, pipe := range log.take() {
			n := 0
			for _, cmd := range pipe {
				if len(cmd.Args()) > 3 && strings.HasSuffix(fmt.Sprint(cmd.Args()[3]), ":pending") && fmt.Sprint(cmd.Args()[2]) == "4" {
					n++
				}
			}
			most = max(most, n)
		}
		if most < 2 || most > slots {
			t.Errorf("at most %d messages were asked for at a time, with %d slots", most, slots)
		}
		if twice := box.doubles(); len(twice) > 0 {
			t.Errorf("%s came more than once", twice)
		}
	})
}
