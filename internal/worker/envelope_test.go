package worker

import (
	"bytes"
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/record"
)

var large = []byte(`"` + strings.Repeat("0123456789", record.CompressFrom) + `"`)

// A handler sees the codec's bytes, its result is stored compressed, and the limit is on what it returned.
func TestLargeValues(t *testing.T) {
	for _, way := range []string{"task", "member"} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeFleet{}
			w := newWorker(t, f, 2, map[string]Handler{"t": func(_ context.Context, j *Job) Result { return Result{Value: j.Args} }})
			w.cfg.MaxResult = len(large)
			tooLarge := record.Wrap(append(large[:len(large):len(large)], ' '))
			switch way {
			case "task":
				deliver(t, w, f.task("a", func(c *record.Claim) { c.Args = record.Wrap(large) }))
				deliver(t, w, f.task("b", func(c *record.Claim) { c.Args = tooLarge }))
			default:
				f.members = []group.RangeMember{{Index: 0, Profile: &group.Profile{Type: "t"}, Args: record.Wrap(large)}, {Index: 1, Profile: &group.Profile{Type: "t"}, Args: tooLarge}}
				deliver(t, w, ticket)
			}
			time.Sleep(time.Second)
			got := f.list("settle")
			if len(got) != 2 {
				t.Fatalf("%s: %+v", way, got)
			}
			for _, g := range got {
				switch {
				case strings.HasSuffix(g.id, "a"), strings.HasSuffix(g.id, "0"):
					value, err := record.Unwrap(g.out.Value)
					if g.out.State != record.Succeeded || err != nil || !bytes.Equal(value, large) || len(g.out.Value) > len(large)/10 {
						t.Errorf("%s: %s with %d bytes, %v", way, g.out.State, len(g.out.Value), err)
					}
				case g.failure == nil || g.failure.Kind != kindTooLarge:
					t.Errorf("%s: over the limit: %s %+v", way, g.out.State, g.failure)
				}
			}
		})
	}
}

func TestDecision21_Envelopes(t *testing.T) {
	cut := record.Wrap(large)[:20]
	newer := append([]byte{200}, large...)
	var handled atomic.Bool
	handlers := map[string]Handler{"t": func(context.Context, *Job) Result { handled.Store(true); return Result{Value: []byte("1")} }}
	for name, c := range map[string]struct {
		args  []byte
		want  string // what the fleet is told of a task
		alone string // of a member
	}{
		"newer":   {newer, "giveback", "leave"},
		"cut off": {cut, "settle", "settle"},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeFleet{members: []group.RangeMember{{Index: 0, Profile: &group.Profile{Type: "t"}, Args: c.args}}}
			w := newWorker(t, f, 1, handlers)
			deliver(t, w, f.task("a", func(cl *record.Claim) {
				cl.Args, cl.Options = c.args, record.Options{Retries: 5}.Encode()
			}))
			synctest.Wait()
			deliver(t, w, ticket)
			time.Sleep(time.Second)
			for _, got := range f.all() {
				switch {
				case handled.Load():
					t.Errorf("%s: the handler ran", name)
				case got.what == "settle" && (got.out.State != record.Failed || got.failure.Kind != kindBadArgs || !strings.Contains(got.failure.Message, "envelope")):
					t.Errorf("%s: %s %+v", name, got.out.State, got.failure)
				}
			}
			if got := f.list(c.want); len(got) == 0 || got[0].id != "a" {
				t.Errorf("%s: a task: %+v", name, f.all())
			}
			if got := f.list(c.alone); len(got) == 0 || got[len(got)-1].id == "a" {
				t.Errorf("%s: a member: %+v", name, f.all())
			}
		})
	}
}
