package group

import (
	"fmt"
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

// A ticket goes behind what others wait for, never behind its own group's, and to workers that wait unless there is one for each.
func TestDecision36_AYieldedTicket(t *testing.T) {
	for _, c := range []struct {
		name                string
		claimed             int // by another worker, of the 31 tickets beside the one that is yielded; the rest is in the queue
		deliveries, workers int
		none, tooLate, kept bool // none: no member is unclaimed; tooLate: it was passed on before
	}{
		{name: "tasks wait", claimed: 31, deliveries: 1},
		{name: "tickets of the group and a task wait", claimed: 20, deliveries: 12},
		{name: "tickets of the group wait", claimed: 20, deliveries: 11, kept: true},
		{name: "fewer than its tickets wait", claimed: 20, deliveries: 3, kept: true},
		{name: "a worker waits", claimed: 31, workers: 1},
		{name: "workers wait, and fewer tickets", claimed: 29, deliveries: 2, workers: 3},
		{name: "workers wait, and as many tickets", claimed: 28, deliveries: 3, workers: 3, kept: true},
		{name: "all is claimed", claimed: 31, deliveries: 1, none: true},
		{name: "all is claimed, its tickets wait", claimed: 20, deliveries: 11, none: true},
		{name: "it is somebody else's", claimed: 20, deliveries: 11, tooLate: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			each(t, func(f *fixture) {
				all := f.tickets("g", 100)
				mine := all[0]
				f.pull("w", mine, 1)
				for _, tk := range all[1 : 1+c.claimed] {
					f.pull("other", tk, 1)
				}
				for c.none {
					if f.pull("w", mine, 64).Range.To == 100 {
						break
					}
				}
				if c.tooLate {
					_, err := f.groups.PassTicket(f.ctx, "w", mine)
					f.ok(err)
				}
				before := f.live("g")
				kept, s, err := f.groups.YieldTicket(f.ctx, "w", mine, c.deliveries, c.workers)
				f.ok(err)
				if passed := !c.kept && !c.none && !c.tooLate; kept != c.kept || (s.HandOver != nil) != passed || s.Applied == (c.kept || c.tooLate) {
					t.Errorf("kept %v, passed on %v: %+v", kept, s.HandOver != nil, s)
				}
				want := before
				if c.none {
					want-- // there is nothing left for it
				}
				if got := f.live("g"); got != want {
					t.Errorf("%d tickets live, want %d", got, want)
				}
				if p := f.pull("w", mine, 1); kept != (p.Status == GotRange) {
					t.Errorf("kept: %v, then it pulls %+v", kept, p)
				}
			})
		})
	}
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

// Of long members a pull takes a part of what is left, so that workers share a small gather; whether it goes the short way or not.
func TestDecision36_APullTakesItsShareOfWhatIsLeft(t *testing.T) {
	each(t, func(f *fixture) {
		tk := record.Ticket{Group: "g", Nonce: f.gather("g", 60), Place: 0, Number: 1}
		left, number := 60, 0
		for _, c := range []struct{ want, share, got int }{
			{8, 32, 2}, // of 60
			{8, 0, 8},
			{8, 10, 5}, // of 50
			{3, 10, 3}, // of 45
			{64, 2, 21},
			{64, 64, 1},
			{64, 1, 20},
		} {
			number++
			p, _, err := f.groups.Next(f.ctx, "w1", tk, fmt.Sprint("n", number), c.want, c.share, nil)
			f.ok(err)
			if p.Range == nil || len(p.Range.Members) != c.got {
				f.Fatalf("%d left, want %d and at most a %dth: %+v, must be %d members", left, c.want, c.share, p.Range, c.got)
			}
			left -= c.got
		}
	})
}
