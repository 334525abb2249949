package integration

import (
	"strings"
	"testing"

	"github.com/gatherq/gatherq/integration/redistest"
)

// A connection that drops is mended by the next one: nobody has to do anything about it, so no log says that something is broken. asynq
// calls each of its own such an error.
func TestADroppedConnectionIsNoError(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t)
	rdb := s.Client(t)
	w := worker(t, s)
	own := func() (ids []string) {
		list, err := rdb.ClientList(t.Context()).Result()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(list) {
			if !strings.Contains(line, "cmd=client") { // the one that asks
				id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
				ids = append(ids, id)
			}
		}
		return ids
	}
	eventually(t, "word of asynq's that a connection dropped", func() bool { // its loops are not always in the middle of a command
		ids := own()
		for _, id := range ids {
			if err := rdb.ClientKillByFilter(t.Context(), "ID", id).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if got := produce(t, s, 0, "create", "echo", `1`, "--await"); got != "1" {
			t.Fatal(got)
		}
		return strings.Contains(w.stderr.String(), "asynq: ")
	})
	if out := w.stderr.String(); strings.Contains(out, "level=ERROR") {
		t.Errorf("the worker calls it an error:\n%s", out)
	}
}
