package worker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A model of slots: who holds how many, and nobody waits while one is free.
func TestDecision12_SlotsAreCountedAndFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(t, "size")
		s := NewSlots(size)
		var waiting []*Reservation // the most urgent first, and in the order in which they came
		held := 0
		settle := func() {
			for len(waiting) > 0 {
				select {
				case <-waiting[0].Got():
					waiting, held = waiting[1:], held+1
					continue
				default:
				}
				break
			}
			for _, r := range waiting {
				select {
				case <-r.Got():
					t.Fatal("one who came later or is less urgent got a slot first")
				default:
				}
			}
			if held > size {
				t.Fatalf("%d slots are taken of %d", held, size)
			}
			if held < size && len(waiting) > 0 {
				t.Fatalf("%d wait while %d slots are free", len(waiting), size-held)
			}
			if free := s.Free(); free != size-held {
				t.Fatalf("Free() = %d, %d of %d are taken", free, held, size)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"reserve": func(t *rapid.T) {
				r := s.Reserve(rapid.SampledFrom([]Urgency{Claimed, Pulling}).Draw(t, "urgency"))
				i := slices.IndexFunc(waiting, func(w *Reservation) bool { return w.at > r.at })
				if i < 0 {
					i = len(waiting)
				}
				waiting = slices.Insert(waiting, i, r)
			},
			"try": func(t *rapid.T) {
				if got := s.TryAcquire(); got != (held < size) {
					t.Fatalf("TryAcquire() = %v with %d of %d taken", got, held, size)
				} else if got {
					held++
				}
			},
			"release": func(t *rapid.T) {
				if held == 0 {
					t.Skip("none is held")
				}
				s.Release()
				held--
			},
			"cancel": func(t *rapid.T) {
				if len(waiting) == 0 {
					t.Skip("nobody waits")
				}
				i := rapid.IntRange(0, len(waiting)-1).Draw(t, "who")
				waiting[i].Cancel()
				waiting = append(waiting[:i:i], waiting[i+1:]...)
			},
			"": func(*rapid.T) { settle() },
		})
	})
}

// Whatever gate and others do, at most size slots are with others, and all come back.
func TestSlotsOnLoan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 3).Draw(t, "size")
		s := NewSlots(size)
		gate := s.Gate()
		lent := false
		gate.OnLoan(func(on bool) {
			if on == lent {
				t.Fatalf("told twice that slots are on loan: %v", on)
			}
			lent = on
		})
		held, gates := 0, 0
		var waiting []*Reservation
		t.Repeat(map[string]func(*rapid.T){
			"gate acquires": func(t *rapid.T) {
				ctx, stop := context.WithTimeout(context.Background(), time.Microsecond)
				defer stop()
				if gate.Acquire(ctx) == nil {
					gates++
				}
			},
			"gate releases": func(t *rapid.T) {
				if gates == 0 {
					t.Skip()
				}
				gates--
				gate.Release()
			},
			"gate has a delivery": func(t *rapid.T) {
				if gates == 0 {
					t.Skip()
				}
				gates--
				if gate.Claim() {
					held++
				}
			},
			"wait": func(t *rapid.T) {
				waiting = append(waiting, s.Reserve(rapid.SampledFrom([]Urgency{Claimed, Pulling}).Draw(t, "urgency")))
			},
			"a moment passes": func(*rapid.T) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.since = time.Time{}
				if s.lending != nil && s.lending.Stop() {
					s.lending = nil
				}
				s.lend()
			},
			"release": func(t *rapid.T) {
				if held == 0 {
					t.Skip()
				}
				held--
				s.Release()
			},
			"": func(t *rapid.T) {
				still := waiting[:0]
				for _, r := range waiting {
					select {
					case <-r.Got():
						held++
					default:
						still = append(still, r)
					}
				}
				waiting = still
				if held > size {
					t.Fatalf("%d slots run of %d", held, size)
				}
				if lent != (held > size-gates) {
					t.Fatalf("told that slots are on loan: %v, with %d of %d running and %d with the gate", lent, held, size, gates)
				}
			},
		})
		for _, r := range waiting {
			r.Cancel()
		}
		for range gates {
			gate.Release()
		}
		for range held {
			s.Release()
		}
		if s.Free() != size {
			t.Fatalf("%d of %d slots are free in the end", s.Free(), size)
		}
	})
}

func TestGateLendsItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSlots(1)
		gate := s.Gate()
		if err := gate.Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := s.Acquire(t.Context(), Claimed); err != nil { // the gate is parked; who waits gets its slot
			t.Fatal(err)
		}
		if took := time.Since(begin); took != lendAfter {
			t.Errorf("lent after %s, want %s", took, lendAfter)
		}
		if gate.Claim() {
			t.Error("the gate's slot is on loan and yet there for a delivery")
		}
		s.Release()
		if s.Free() != 1 {
			t.Errorf("%d free, want 1", s.Free())
		}
	})
}

func TestAcquireEndsWithItsContext(t *testing.T) {
	s := NewSlots(1)
	if err := s.Acquire(t.Context(), Claimed); err != nil {
		t.Fatal(err)
	}
	cause := errors.New("enough")
	ctx, stop := context.WithCancelCause(t.Context())
	stop(cause)
	if err := s.Acquire(ctx, Claimed); !errors.Is(err, cause) {
		t.Errorf("Acquire = %v, want the cause", err)
	}
	s.Release()
	if s.Free() != 1 {
		t.Errorf("%d free, want 1", s.Free())
	}
}

func TestReleaseOfNothingPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	NewSlots(1).Release()
}
