package fleet

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// shard is the open work of one shard by Redis' clock, which is the bubble's here.
type shard struct {
	mu    sync.Mutex
	due   []time.Time
	looks int
	taken []time.Duration // how late each piece was taken
	fail  bool
}

func (s *shard) look(_ context.Context, _, limit int) (record.Due, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	if s.fail {
		return record.Due{}, errors.New("no answer")
	}
	slices.SortFunc(s.due, time.Time.Compare)
	d := record.Due{Next: -1}
	for len(s.due) > 0 && !s.due[0].After(time.Now()) && len(d.HandOvers) < limit {
		s.taken = append(s.taken, time.Since(s.due[0]))
		s.due = s.due[1:]
		d.HandOvers = append(d.HandOvers, record.HandOver{Queue: "q"})
	}
	if len(s.due) > 0 {
		// A script's answer is in whole milliseconds, rounded down at times: then the promoter comes early and is told to come again.
		d.Next = max(time.Until(s.due[0]).Truncate(time.Millisecond), 0)
	}
	return d, nil
}

func newPromoter(s *shard, shards int, seen bool) *Promoter {
	return NewPromoter(PromoterConfig{
		Shards: shards, Due: s.look, Clock: &Clock{}, Seen: seen, Log: slog.New(slog.DiscardHandler),
		HandOver: func(context.Context, []record.HandOver) error { return nil },
		Outbox:   NewOutbox(OutboxConfig{}),
	})
}

// beat tells a promoter what a beat would.
func (s *shard) beat(p *Promoter, leads bool) {
	s.mu.Lock()
	e := Errands{Leads: leads, Now: time.Now(), Shards: make([]ShardErrands, 1)}
	if len(s.due) > 0 {
		e.Shards[0].Next = slices.MinFunc(s.due, time.Time.Compare)
	}
	s.mu.Unlock()
	p.Told(e)
}

// beats tells it so with each beat until ctx ends.
func (s *shard) beats(ctx context.Context, p *Promoter, leads bool) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for s.beat(p, leads); ; s.beat(p, leads) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func TestDecision42_DueWorkIsTakenInTimeAndNeverEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shard{}
		p := newPromoter(s, 1, true)
		ctx, stop := context.WithCancel(t.Context())
		go p.Run(ctx)
		go s.beats(ctx, p, true)
		synctest.Wait()
		begin := time.Now()
		for i := range 100 {
			time.Sleep(3 * time.Millisecond)
			at := begin.Add(137*time.Millisecond + time.Duration(i*i)*277*time.Microsecond)
			s.mu.Lock()
			s.due = append(s.due, at)
			s.mu.Unlock()
			p.Wake(at)
		}
		time.Sleep(5 * time.Second)
		stop()
		synctest.Wait()
		if len(s.taken) != 100 {
			t.Fatalf("%d taken, want 100", len(s.taken))
		}
		for _, late := range s.taken {
			if late < 0 || late > 5*time.Millisecond {
				t.Errorf("taken %s after its time", late)
			}
		}
		if s.looks > 300 {
			t.Errorf("%d looks for 100 pieces", s.looks)
		}
	})
}

// One of many workers looks, at the time; where it does not, another one does with its next beat.
func TestOneLooksForAll(t *testing.T) {
	for _, dead := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const workers = 50
			s := &shard{}
			ctx, stop := context.WithCancel(t.Context())
			var promoters []*Promoter
			for i := range workers {
				p := newPromoter(s, 1, true)
				promoters = append(promoters, p)
				p.Told(Errands{Leads: i == 0, Now: time.Now()})
				if i == 0 && dead {
					continue
				}
				go p.Run(ctx)
				go func() {
					time.Sleep(time.Duration(i) * beatEvery / workers)
					s.beats(ctx, p, i == 0)
				}()
			}
			time.Sleep(10 * time.Second)
			at := time.Now().Add(300 * time.Millisecond)
			s.mu.Lock()
			s.due = []time.Time{at}
			s.mu.Unlock()
			for _, p := range promoters {
				p.Wake(at)
			}
			time.Sleep(10 * time.Second)
			stop()
			synctest.Wait()
			limit, looks := 5*time.Millisecond, 2
			if dead {
				limit, looks = overdue+2*beatEvery/workers, 3
			}
			if len(s.taken) != 1 || s.taken[0] < 0 || s.taken[0] > limit {
				t.Errorf("leader dead: %v: taken %v late, want once and at most %v", dead, s.taken, limit)
			}
			if s.looks > looks {
				t.Errorf("leader dead: %v: %d looks of %d workers", dead, s.looks, workers)
			}
		})
	}
}

func TestDueWorkIsTakenWithoutAMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shard{}
		ctx, stop := context.WithCancel(t.Context())
		p := newPromoter(s, 1, true)
		go p.Run(ctx)
		go s.beats(ctx, p, true)
		synctest.Wait()
		s.mu.Lock()
		s.due = append(s.due, time.Now().Add(10*time.Millisecond))
		s.mu.Unlock()
		time.Sleep(3 * time.Second)
		stop()
		synctest.Wait()
		if len(s.taken) != 1 || s.taken[0] > beatEvery {
			t.Errorf("taken %v, want within %s", s.taken, beatEvery)
		}
	})
}

// Where beats see the shards nobody looks without a reason. In a cluster, where they do not, who leads looks from time to time.
func TestIdlePromoterIsCheap(t *testing.T) {
	for _, shards := range []int{1, 64} {
		for _, seen := range []bool{true, false} {
			for _, leads := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					s := &shard{}
					ctx, stop := context.WithCancel(t.Context())
					p := newPromoter(s, shards, seen)
					p.Told(Errands{Leads: leads, Now: time.Now()})
					go p.Run(ctx)
					time.Sleep(100 * time.Second)
					stop()
					synctest.Wait()
					most := 0.0
					if leads && !seen {
						most = dueRate
						if s.looks < 5*shards {
							t.Errorf("%d looks into %d shards in 100 s", s.looks, shards)
						}
					}
					if perSecond := float64(max(s.looks-shards, 0)) / 100; perSecond > most || most == 0 && s.looks > 0 {
						t.Errorf("seen %v, leads %v: %d looks in 100 s into %d shards", seen, leads, s.looks, shards)
					}
				})
			}
		}
	}
}

func TestMoreThanOneLookTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shard{due: slices.Repeat([]time.Time{time.Now()}, 1234)}
		ctx, stop := context.WithCancel(t.Context())
		p := newPromoter(s, 1, true)
		go p.Run(ctx)
		s.beat(p, true)
		time.Sleep(10 * time.Millisecond)
		stop()
		synctest.Wait()
		if len(s.taken) != 1234 {
			t.Errorf("%d taken, want 1234", len(s.taken))
		}
	})
}

func TestPromoterOutlivesFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shard{fail: true, due: []time.Time{time.Now()}}
		ctx, stop := context.WithCancel(t.Context())
		p := newPromoter(s, 1, true)
		go p.Run(ctx)
		go s.beats(ctx, p, true)
		time.Sleep(10 * time.Second)
		s.mu.Lock()
		looks := s.looks
		s.fail = false
		s.mu.Unlock()
		time.Sleep(2 * time.Second)
		stop()
		synctest.Wait()
		if looks < 2 || looks > 13 || len(s.taken) != 1 {
			t.Errorf("%d looks in 10 s of failures, %d taken after", looks, len(s.taken))
		}
	})
}

func TestGroupsAreHelped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var helped []string
		help := func(what string) func(context.Context, string) error {
			return func(_ context.Context, id string) error {
				mu.Lock()
				defer mu.Unlock()
				helped = append(helped, what+" "+id)
				return nil
			}
		}
		first := true
		delivered, repairs := 0, &Repairs{}
		p := NewPromoter(PromoterConfig{
			Shards: 1, Clock: &Clock{}, Repairs: repairs, Log: slog.New(slog.DiscardHandler),
			Due: func(context.Context, int, int) (record.Due, error) {
				d := record.Due{Next: -1}
				if first {
					d.Late = 3
					d.Outbox, d.Groups = true, []record.GroupDue{{ID: "a", Act: record.Bind}, {ID: "b", Act: record.Sweep}}
				}
				first = false
				return d, nil
			},
			Bind: help("bind"), Sweep: help("sweep"),
			Outbox: NewOutbox(OutboxConfig{Deliver: func(context.Context, int) error { delivered++; return nil }}),
		})
		ctx, stop := context.WithCancel(t.Context())
		go p.Run(ctx)
		p.Told(Errands{Leads: true, Now: time.Now()})
		time.Sleep(time.Second)
		stop()
		synctest.Wait()
		slices.Sort(helped)
		if !slices.Equal(helped, []string{"bind a", "sweep b"}) || delivered != 1 {
			t.Errorf("helped %v, outbox %d times", helped, delivered)
		}
		if n := repairs.Counts(); n[RepairHandOver] != 3 || n[RepairBind] != 1 || n[RepairSweep] != 1 {
			t.Errorf("counted %v", n)
		}
	})
}

// A master that is silent holds up the shards that it has, and what is for queues that it has: neither the other shards nor the other queues.
func TestDecision42_AMasterThatIsSilentHoldsUpItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const shards, every = 8, 2 * time.Second
		silence := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		var mu sync.Mutex
		handed := map[string]int{}
		asked, most := 0, 0
		bound := 0
		p := NewPromoter(PromoterConfig{
			Shards: shards, Clock: &Clock{}, Outbox: NewOutbox(OutboxConfig{}), Log: slog.New(slog.DiscardHandler),
			Due: func(ctx context.Context, shard, _ int) (record.Due, error) {
				if shard == 3 {
					return record.Due{}, silence(ctx)
				}
				d := record.Due{Next: every}
				for _, q := range []string{"silent", "q"} {
					d.HandOvers = append(d.HandOvers, record.HandOver{Queue: q}, record.HandOver{Queue: q})
				}
				d.Groups = []record.GroupDue{{ID: "g", Act: record.Bind}}
				return d, nil
			},
			HandOver: func(ctx context.Context, hs []record.HandOver) error {
				if hs[0].Queue == "silent" {
					mu.Lock()
					asked++
					most = max(most, asked)
					mu.Unlock()
					defer func() {
						mu.Lock()
						asked--
						mu.Unlock()
					}()
					return silence(ctx)
				}
				mu.Lock()
				defer mu.Unlock()
				for _, h := range hs {
					handed[h.Queue]++
				}
				return nil
			},
			Bind: func(ctx context.Context, _ string) error {
				mu.Lock()
				bound++
				mu.Unlock()
				return silence(ctx)
			},
		})
		ctx, stop := context.WithCancel(t.Context())
		go p.Run(ctx)
		p.Told(Errands{Leads: true, Now: time.Now()})
		time.Sleep(59 * time.Second)
		stop()
		synctest.Wait()
		if n := handed["q"]; len(handed) != 1 || n < 2*(shards-1)*25 || n > 2*(shards-1)*35 {
			t.Errorf("handed over %v", handed)
		}
		if most > 2*(shards-1) {
			t.Errorf("%d hand-overs wait for the queue that is silent", most)
		}
		if bound != 1 {
			t.Errorf("a group that is being bound is bound %d times more", bound-1)
		}
	})
}
