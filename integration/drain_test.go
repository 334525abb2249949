package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/gatherq/gatherq/integration/redistest"
)

// A worker that is told to stop finishes what runs, hands back the rest, and nothing runs twice or counts as an attempt.
func TestDrainInTheMiddleOfAGather(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		const members = 400
		rdb := s.Client(t)
		leaving := worker(t, s, "--concurrency", "20")
		worker(t, s, "--concurrency", "20")
		worker(t, s, "--concurrency", "20")

		var in strings.Builder
		for i := range members {
			fmt.Fprintf(&in, `{"steps":[{"incr":"n"},{"sleep_ms":300},{"return":%d}]}`+"\n", i)
		}
		id := produceFrom(t, s, 0, in.String(), "gather", "sim", "-")
		eventually(t, "30 % of the members started", func() bool { return simKey(t, rdb, "n") >= members*30/100 })
		leaving.signal(t, syscall.SIGTERM)
		worker(t, s, "--concurrency", "20")
		if code := leaving.wait(t, patience); code != 0 {
			t.Errorf("the drained worker exits with %d", code)
		}

		lines := parseLines(t, produce(t, s, 0, "await", "--json", id))
		if len(lines) != members {
			t.Fatalf("%d results, want %d", len(lines), members)
		}
		for i, line := range lines {
			if line.Index != i || string(line.Value) != fmt.Sprint(i) || line.Attempt != 1 {
				t.Errorf("result %d: %+v", i, line)
			}
		}
		if n := simKey(t, rdb, "n"); n != members {
			t.Errorf("%d members ran %d times", members, n)
		}
		healthy(t, s)
	})
}
