package worker

import (
	"sync"
	"time"
)

// How much of a group is taken at once: so much work, or of long members as many as slots are free, but no more than an equal part for
// each of so many pulls of what is left, so that workers share a small gather.
const (
	rangeWork = 20 * time.Millisecond // of work in a range
	rangeMax  = 64                    // members of a range
	shortRun  = time.Millisecond      // members under this share a slot, so a range may hold more of them than there are slots
	together  = 8                     // long members of a range at most, where slots are free for them
	evenly    = 32                    // pulls that share what is left of long members
	leap      = 8                     // times the mean: a run counts for no longer, see observe
)

// sizer knows how long the handlers of each type ran here lately.
type sizer struct {
	mu    sync.Mutex
	types map[string]time.Duration
}

func newSizer() *sizer { return &sizer{types: make(map[string]time.Duration)} }

// observe takes in one run. A longer run counts more than a shorter one: a range that is too large holds others up, one that is
// too small costs a round trip. But one run does not tell what the others will be: on a busy machine any is stopped for a while
// now and then, and ranges of one member, which cost ten times the work, would keep it busy.
func (z *sizer) observe(typ string, took time.Duration) {
	took = max(took, time.Microsecond)
	z.mu.Lock()
	defer z.mu.Unlock()
	mean, ok := z.types[typ]
	switch {
	case !ok:
		mean = took
	case took > mean:
		mean += (min(took, leap*mean) - mean) / 2
	default:
		mean += (took - mean) / 8
	}
	z.types[typ] = mean
}

// mean returns how long a type runs, 0 if it never ran here.
func (z *sizer) mean(typ string) time.Duration {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.types[typ]
}

// short reports whether members of the type share a slot.
func (z *sizer) short(typ string) bool {
	mean := z.mean(typ)
	return mean > 0 && mean < shortRun
}

// long reports whether members of the type are taken one for each slot: also of one that never ran here.
func (z *sizer) long(typ string) bool {
	mean := z.mean(typ)
	return mean == 0 || mean > rangeWork/2
}

// want returns how many members to take of a group in which the type was met last, with that many slots for them: 1 of long ones,
// else rangeWork of them, and more than slots only of short ones.
func (z *sizer) want(typ string, slots int) int {
	mean := z.mean(typ)
	if mean == 0 {
		return 1
	}
	n := min(max(int(rangeWork/mean), 1), rangeMax)
	if mean >= shortRun {
		n = min(n, max(slots, 1))
	}
	return n
}
