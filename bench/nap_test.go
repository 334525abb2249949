package bench

import (
	"testing"
	"time"
)

func TestScheduleLosesNoTime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args  []napArgs
		slots int
		whole time.Duration
		early int
	}{
		{naps(1_000, 100, 0, 0), 128, 800 * time.Millisecond, 1_000},
		{naps(5, 10, 0, 0), 1, 50 * time.Millisecond, 5},
		{naps(3, 1, 2, 2_000), 2, 2001 * time.Millisecond, 1},
		// 200 members of 3 s on 64 slots go in four waves, and from the 64th on no slot is free for short ones.
		{naps(20_000, 1, 100, 3_000), 64, 12_186 * time.Millisecond, 6_237},
	} {
		whole, early := schedule(test.args, test.slots, earlyBefore)
		if whole != test.whole || early != test.early {
			t.Errorf("%d members on %d slots: %v, %d early, want %v, %d", len(test.args), test.slots, whole, early, test.whole, test.early)
		}
	}
}
