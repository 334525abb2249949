package group

import (
	"fmt"
	"slices"
	"testing"

	"github.com/gatherq/gatherq/internal/record"
)

// tickets returns a new group's, all 32 of them.
func (f *fixture) tickets(id string, members int) (all []record.Ticket) {
	f.Helper()
	nonce := f.gather(id, members)
	for place := range min(maxTickets, members) {
		all = append(all, record.Ticket{Group: id, Nonce: nonce, Place: place, Number: int64(place) + 1})
	}
	return all
}

// A ticket goes behind what others wait for, never behind its own group's, and workers that wait get tickets of their own while there
// are places for them.
func TestDecision36_AYieldedTicket(t *testing.T) {
	for _, c := range []struct {
		name                string
		claimed, closed     int // by another worker, of the 31 tickets beside the one that is yielded; the rest is in the queue
		deliveries, workers int
		ran                 bool // no member is unclaimed
		kept                bool
		made                int
		passed              bool
	}{
		{name: "tasks wait", claimed: 31, deliveries: 1, passed: true},
		{name: "tickets of the group and a task wait", claimed: 20, deliveries: 12, passed: true},
		{name: "tickets of the group wait", claimed: 20, deliveries: 11, kept: true},
		{name: "fewer than its tickets wait", claimed: 20, deliveries: 3, kept: true},
		{name: "a worker waits, all places live", claimed: 31, workers: 1, passed: true},
		{name: "a worker waits, and a ticket for it", claimed: 30, workers: 1, kept: true},
		{name: "workers wait", claimed: 1, closed: 30, workers: 3, kept: true, made: 3},
		{name: "more workers than places", claimed: 29, closed: 2, workers: 3, kept: true, made: 2},
		{name: "more workers than tickets on their way", claimed: 24, closed: 5, workers: 3, kept: true, made: 1},
		{name: "tasks and workers wait", claimed: 1, closed: 30, deliveries: 1, workers: 3, passed: true},
		{name: "all is claimed", claimed: 31, deliveries: 1, ran: true},
		{name: "all is claimed, workers wait", claimed: 1, closed: 30, workers: 2, ran: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(f *fixture) {
				all := f.tickets("g", 100)
				mine := all[0]
				f.pull("w", mine, 1)
				for i, tk := range all[1 : 1+c.claimed+c.closed] {
					if f.pull("other", tk, 1); i < c.claimed {
						continue
					}
					if closed, err := f.groups.SpareTicket(f.ctx, "other", tk); err != nil || !closed {
						f.Fatalf("ticket %d is closed: %v, %v", tk.Place, closed, err)
					}
				}
				for c.ran {
					if f.pull("w", mine, 64).Range.To == 100 {
						break
					}
				}
				before := f.live("g")
				kept, s, err := f.groups.YieldTicket(f.ctx, "w", mine, c.deliveries, c.workers)
				f.ok(err)
				if !s.Applied || kept != c.kept || len(s.Others) != c.made || (s.HandOver != nil) != c.passed {
					f.Errorf("kept %v, %d made, passed on %v: %+v", kept, len(s.Others), s.HandOver != nil, s)
				}
				want := before + c.made
				if c.ran {
					want-- // there is nothing left for it
				}
				if got := f.live("g"); got != want {
					f.Errorf("%d tickets live, want %d", got, want)
				}
				for _, h := range s.Others {
					if p := f.pull("third", *h.Delivery.Ticket, 1); h.Queue != "default" || p.Status != GotRange {
						f.Errorf("%+v pulls %+v", h, p)
					}
				}
				if p := f.pull("w", mine, 1); kept != (p.Status == GotRange) {
					f.Errorf("kept: %v, then it pulls %+v", kept, p)
				}
			})
		})
	}
}

// Who holds a ticket needs no other one of its group; the last that a worker has is never closed, nor one of somebody else's.
func TestDecision36_SpareTickets(t *testing.T) {
	each(t, func(f *fixture) {
		all := f.tickets("g", 4)
		spare := func(worker string, tk record.Ticket, want bool) {
			f.Helper()
			before := f.live("g")
			closed, err := f.groups.SpareTicket(f.ctx, worker, tk)
			f.ok(err)
			if closed != want || f.live("g") != before-map[bool]int{true: 1}[want] {
				f.Errorf("%s needs no ticket %d: %v, want %v; %d live, before %d", worker, tk.Place, closed, want, f.live("g"), before)
			}
		}
		spare("w", all[0], false) // it holds none
		f.pull("w", all[0], 1)
		spare("w", all[0], false) // nor another one
		spare("w", record.Ticket{Group: "g", Nonce: all[1].Nonce, Place: 1, Number: 77}, false)
		spare("w", record.Ticket{Group: "none", Place: 1, Number: 2}, false)
		spare("w", all[1], true)
		spare("w", all[1], false) // again
		f.pull("v", all[2], 1)
		spare("w", all[2], false)
		f.pull("w", all[3], 1)
		spare("w", all[0], true)
		spare("w", all[3], false)
		holds, err := f.conn.Redis().SMembers(f.ctx, f.keys.Holdings(f.keys.Shard("g"), "w")).Result()
		f.ok(err)
		if slices.Contains(holds, "t|g|0") || !slices.Contains(holds, "t|g|3") {
			f.Errorf("w holds %q", holds)
		}
	})
}

// live returns how many tickets a group has, which are as many as it counts.
func (f *fixture) live(id string) (n int) {
	f.Helper()
	fields, err := f.conn.Redis().HGetAll(f.ctx, f.keys.Record(id)).Result()
	f.ok(err)
	for place := range maxTickets {
		if _, ok := fields[fmt.Sprint("t", place)]; ok {
			n++
		}
	}
	if len(fields) > 0 && fields["lt"] != fmt.Sprint(n) {
		f.Errorf("%d tickets, counted as %s", n, fields["lt"])
	}
	return n
}
