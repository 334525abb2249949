package group

import (
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Two gathers that were both told that an ID is free: the member of the second one is a conflict, not the first one's task.
func TestDecision44_TheSameIDOfTwoGathersAtOnce(t *testing.T) {
	own := func(digest string, policy record.Conflict) Member {
		return Member{Profile: &Profile{Type: "echo", Queue: "default", Retention: time.Hour, MaxPending: time.Hour, OnConflict: policy}, ID: "x",
			Args: record.Wrap([]byte("1")), Digest: []byte(digest)}
	}
	for name, test := range map[string]struct {
		second Member
		kind   string
	}{
		"the same":        {own("d", record.Return), ""},
		"other arguments": {own("e", record.Return), "conflict"},
		"policy error":    {own("d", record.Error), "conflict"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(f *fixture) {
				f.stage(Spec{ID: "g1"}, own("d", record.Error))
				f.stage(Spec{ID: "g2"}, call(0), test.second)
				f.end("x", record.Succeeded, "1")
				for gid, at := range map[string]int{"g1": 0, "g2": 1} {
					outs, err := f.groups.ByIndex(f.ctx, gid, at, 1)
					f.ok(err)
					state, kind := record.Succeeded, ""
					if gid == "g2" && test.kind != "" {
						state, kind = record.Failed, test.kind
					}
					if o := outs[0]; o.State != state || kind != "" && (o.Failure == nil || o.Failure.Kind != kind) {
						f.Errorf("%s: %+v %+v", gid, o, o.Failure)
					}
				}
			})
		})
	}
}
