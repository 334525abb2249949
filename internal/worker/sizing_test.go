package worker

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDecision36_RangeSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		z := newSizer()
		slots := rapid.IntRange(1, 200).Draw(t, "slots")
		if n := z.want("t", slots); n != 1 {
			t.Fatalf("want = %d of a type that never ran, must be 1", n)
		}
		runs := rapid.SliceOfN(rapid.Int64Range(0, int64(time.Minute)), 1, 50).Draw(t, "runs")
		lo, hi := time.Duration(1<<62), time.Duration(0)
		for _, r := range runs {
			took := max(time.Duration(r), time.Microsecond)
			lo, hi = min(lo, took), max(hi, took)
			z.observe("t", time.Duration(r))
		}
		mean := z.mean("t")
		if mean < lo || mean > hi {
			t.Fatalf("mean %s is outside of what was seen, %s to %s", mean, lo, hi)
		}
		n := z.want("t", slots)
		if n < 1 || n > rangeMax {
			t.Fatalf("want = %d", n)
		}
		if n > 1 && time.Duration(n)*mean > rangeWork {
			t.Fatalf("%d members of %s are more than %s of work", n, mean, rangeWork)
		}
		if mean >= shortRun && n > slots {
			t.Fatalf("%d members of %s for %d slots", n, mean, slots)
		}
		if z.short("t") != (mean < shortRun) {
			t.Fatalf("short = %v for %s", z.short("t"), mean)
		}
	})
}

func TestRangeGrowsAndShrinks(t *testing.T) {
	z := newSizer()
	for range 50 {
		z.observe("t", 10*time.Microsecond)
	}
	if n := z.want("t", 1); n != rangeMax {
		t.Errorf("want = %d for runs of 10 µs, want %d", n, rangeMax)
	}
	z.observe("t", 100*time.Millisecond)
	if n := z.want("t", 1); n != rangeMax {
		t.Errorf("want = %d after one run that was stopped for long, want %d", n, rangeMax)
	}
	for range 6 {
		z.observe("t", 100*time.Millisecond)
	}
	if n := z.want("t", 64); n != 1 {
		t.Errorf("want = %d after seven runs of 100 ms, want 1", n)
	}
}
