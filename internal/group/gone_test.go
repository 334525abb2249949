package group

import (
	"slices"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// segmented gathers calls, so many in each segment of arguments.
func (f *fixture) segmented(sizes ...int) (nonce string) {
	f.Helper()
	st := f.groups.Stage(Spec{ID: "g", Queue: "default", Retention: time.Hour, MaxPending: time.Hour})
	for _, n := range sizes {
		for range n {
			f.ok(st.Add(f.ctx, call(0)))
		}
		f.ok(st.Put(f.ctx, st.packer.Flush()))
	}
	_, err := st.Commit(f.ctx, f.carrier)
	f.ok(err)
	return st.nonce
}

// Segments of arguments that a restored Redis lacks, or that somebody removed, hold up nobody: their members end as lost.
func TestDecision23_MembersWhoseArgumentsAreGoneAreLost(t *testing.T) {
	for name, test := range map[string]struct {
		gone []string
		lost []int
	}{
		"in the middle": {[]string{"1"}, []int{2, 3}},
		"at the start":  {[]string{"0"}, []int{0, 1}},
		"at the end":    {[]string{"3"}, []int{6, 7}},
		"several":       {[]string{"1", "2"}, []int{2, 3, 4, 5}},
		"all":           {[]string{"0", "1", "2", "3"}, []int{0, 1, 2, 3, 4, 5, 6, 7}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(f *fixture) {
				tk := record.Ticket{Group: "g", Nonce: f.segmented(2, 2, 2, 2), Number: 1}
				f.ok(f.conn.Redis().HDel(f.ctx, f.keys.Args("g", tk.Nonce, 0), test.gone...).Err())
				var lost []int
				p := f.pull("w", tk, 3)
				for ; p.Status == GotRange || p.Status == NotYet; p = f.pull("w", tk, 3) {
					if p.Status == NotYet {
						continue
					}
					state := record.Succeeded
					if p.Range.Lost {
						state = record.Lost
						for _, m := range p.Range.Members {
							lost = append(lost, m.Index)
						}
					}
					f.settle("w", p.Range, f.outcomes(p.Range, state))
				}
				if !slices.Equal(lost, test.lost) {
					f.Errorf("lost are %v, want %v", lost, test.lost)
				}
				if h, err := f.groups.Head(f.ctx, "g"); err != nil || !h.Barrier || h.Done != 8 {
					f.Errorf("%+v %v", h, err)
				}
			})
		})
	}
}

func TestDecision23_WhatIsHandedBackMayBeLostSince(t *testing.T) {
	each(t, func(f *fixture) {
		tk := record.Ticket{Group: "g", Nonce: f.segmented(2, 1), Number: 1}
		p := f.pull("w", tk, 2)
		_, err := f.groups.ReturnRange(f.ctx, "w", p.Range, []int{0, 1})
		f.ok(err)
		f.ok(f.conn.Redis().Unlink(f.ctx, f.keys.Args("g", tk.Nonce, 0)).Err())
		f.groups.forget(tk.Nonce)
		for range 2 {
			p = f.pull("w", tk, 2)
			if p.Status != GotRange || !p.Range.Lost {
				f.Fatalf("%+v", p)
			}
			f.settle("w", p.Range, f.outcomes(p.Range, record.Lost))
		}
	})
}

func TestDecision11_AGroupEndsWhoseArgumentsAreGone(t *testing.T) {
	each(t, func(f *fixture) {
		nonce := f.segmented(2, 2, 2)
		f.ok(f.conn.Redis().HDel(f.ctx, f.keys.Args("g", nonce, 0), "0", "2").Err())
		_, err := f.groups.Cancel(f.ctx, "g", true, &record.Failure{Kind: "cancelled"})
		f.ok(err)
		if h, err := f.groups.Head(f.ctx, "g"); err != nil || !h.Barrier || h.Done != 6 {
			f.Fatalf("%+v %v", h, err)
		}
	})
}

// Who binds cannot know what stood for members whose arguments are gone: a ticket ends them.
func TestDecision23_UnboundMembersWhoseArgumentsAreGoneAreLost(t *testing.T) {
	each(t, func(f *fixture) {
		f.create("a")
		f.unbound(Spec{}, Member{Link: "a"}, Member{Link: "a"})
		nonce := f.conn.Redis().HGet(f.ctx, f.keys.Record("g"), "no").Val()
		f.ok(f.conn.Redis().Unlink(f.ctx, f.keys.Args("g", nonce, 0)).Err())
		f.ok(f.groups.Bind(f.ctx, "g", f.carrier))
		hs, err := f.groups.Tickets(f.ctx, []string{"g"})
		f.ok(err)
		if len(hs) != 1 {
			f.Fatal(hs)
		}
		p := f.pull("w", *hs[0].Delivery.Ticket, 5)
		if p.Status != GotRange || !p.Range.Lost || len(p.Range.Members) != 2 {
			f.Fatalf("%+v", p)
		}
	})
}
