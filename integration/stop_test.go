package integration

import (
	"syscall"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
)

// What a worker cannot finish in the time of its drain goes to another one, and counts as no attempt.
func TestAWorkerGivesBackWhatItCannotFinish(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*testing.T, *program){
		"after its drain": func(t *testing.T, p *program) { p.signal(t, syscall.SIGTERM) },
		"at the second signal": func(t *testing.T, p *program) {
			p.signal(t, syscall.SIGTERM)
			pause(t, 200*time.Millisecond) // two signals at once are one
			p.signal(t, syscall.SIGTERM)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Any(t)
			rdb := s.Client(t)
			drain := "1s"
			if name == "at the second signal" {
				drain = "1h"
			}
			leaving := worker(t, s, "--drain", drain)
			single := produce(t, s, 0, "create", "sim", `{"steps":[{"incr":"single"},{"sleep_ms":6000},{"return":"done"}]}`)
			group := produceFrom(t, s, 0, `{"steps":[{"incr":"member"},{"sleep_ms":6000},{"return":1}]}`+"\n"+`{"steps":[{"incr":"member"},{"return":2}]}`, "gather", "sim", "-")
			eventually(t, "running tasks", func() bool { return simKey(t, rdb, "single") == 1 && simKey(t, rdb, "member") == 2 })
			worker(t, s)
			stop(t, leaving)
			leaving.wait(t, 10*time.Second)

			line := parseLine(t, produce(t, s, 0, "await", "--json", single))
			if string(line.Value) != `"done"` || line.Attempt != 1 || line.Delivery < 2 {
				t.Errorf("the task: %+v", line)
			}
			lines := parseLines(t, produce(t, s, 0, "await", "--json", group))
			if len(lines) != 2 || string(lines[0].Value) != "1" || string(lines[1].Value) != "2" || lines[0].Attempt != 1 || lines[1].Attempt != 1 {
				t.Errorf("the group: %+v", lines)
			}
			if a, b := simKey(t, rdb, "single"), simKey(t, rdb, "member"); a != 2 || b != 3 {
				t.Errorf("the task ran %d times, want 2; the members %d times, want 3", a, b)
			}
			healthy(t, s)
		})
	}
}
