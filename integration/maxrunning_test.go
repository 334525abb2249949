package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
)

// TestDecision28_MaxRunningHoldsThroughADeath gathers 2,000 members of which 6 may run at once over three workers that could run 24, and
// kills one of them. Every tenth member fails once, and comes back by itself.
func TestDecision28_MaxRunningHoldsThroughADeath(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		const most = 6
		members := 2000
		if underRace && !s.IsReal() { // the embedded Redis is in this process, and slow then
			members = 1000
		}
		rdb := s.Client(t)
		victim := worker(t, s, "--concurrency", "8")
		worker(t, s, "--concurrency", "8")
		worker(t, s, "--concurrency", "8")
		var in strings.Builder
		for i := range members {
			gauge, fails := "before", ""
			if i >= members/2 {
				gauge = "after"
			}
			if i%10 == 0 {
				fails = `{"fail_until_attempt":2},`
			}
			fmt.Fprintf(&in, `{"steps":[{"incr":"n"},{"gauge":%q,"busy_ms":3},%s{"return":%d}]}`+"\n", gauge, fails, i)
		}
		begin := time.Now()
		group := produceFrom(t, s, 0, in.String(), "gather", "sim", "-", "--max-running", fmt.Sprint(most), "--retries", "1", "--backoff", "1ms")
		within(t, 3*patience, "a fifth of the members started", func() bool { return simKey(t, rdb, "n") >= members/5 })
		victim.kill(t)
		t.Logf("a fifth ran in %v", time.Since(begin).Round(time.Millisecond))

		lines := parseLines(t, produce(t, s, 0, "await", "--json", group))
		t.Logf("all ran in %v", time.Since(begin).Round(time.Millisecond))
		if len(lines) != members {
			t.Fatalf("%d results, want %d", len(lines), members)
		}
		deliveries := 0
		for i, line := range lines {
			deliveries += line.Delivery
			if want := 1 + max(0, 1-i%10); line.Index != i || string(line.Value) != fmt.Sprint(i) || line.Attempt != want {
				t.Errorf("member %d: %+v", i, line)
			}
		}
		if n := simKey(t, rdb, "n"); n < members || n > deliveries {
			t.Errorf("%d members in %d deliveries ran %d times", members, deliveries, n)
		}
		// Who died in the middle of a gauge never left it: so many may seem to run since.
		stuck := simKey(t, rdb, "before")
		if n := simKey(t, rdb, "before:max"); stuck > most || n < most || n > most+stuck {
			t.Errorf("up to %d members ran at once before and around the death, %d of the dead one's included; want %d", n, stuck, most)
		}
		if n := simKey(t, rdb, "after:max"); n != most || simKey(t, rdb, "after") != 0 {
			t.Errorf("up to %d members ran at once after it, want %d", n, most)
		}
	})
}
