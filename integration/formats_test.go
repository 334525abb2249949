package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/record"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// testdata/formats has a directory for each set of formats that a release has written, named after their versions. It is what a Redis
// held when a fleet of that release died: keys.redis, the commands that write it again; notices.redis, a message of each kind that
// went through inboxes; expect.jsonl, how everything must end. Later versions read all of them.
const formatsDir = "testdata/formats"

// formatsNow is the name of the formats that this version writes.
func formatsNow() string {
	envelope := 0
	for record.Knows([]byte{byte(envelope + 1)}) {
		envelope++
	}
	return fmt.Sprintf("schema%d-delivery%d-range%d-segment%d-envelope%d",
		core.Schema, record.DeliveryVersion, record.RangeVersion, group.SegmentVersion, envelope)
}

// ends is how a task or group must end, wherever its fleet died.
type ends struct {
	ID      string          `json:"id"`
	State   string          `json:"state"`           // of a group, in the end
	Value   json.RawMessage `json:"value,omitempty"` // of a task that succeeded
	Kind    string          `json:"kind,omitempty"`  // of its failure
	Attempt int             `json:"attempt,omitempty"`
	Members []ends          `json:"members,omitempty"` // of a group, in call order; without IDs
	Open    bool            `json:"open,omitempty"`    // it had not ended when the fleet died
}

// is says what of an outcome is not as it must be, "" if nothing.
func (e ends) is(out jobs.Outcome[json.RawMessage]) string {
	kind := ""
	if f, ok := errors.AsType[*jobs.Error](out.Err); ok {
		kind = string(f.Kind)
	} else if out.Err != nil {
		kind = out.Err.Error()
	}
	if string(out.State) != e.State || string(out.Value) != string(e.Value) || kind != e.Kind || e.Attempt > 0 && out.Attempt != e.Attempt {
		return fmt.Sprintf("%s, %.80s, failure %q (%v), attempt %d", out.State, out.Value, kind, out.Err, out.Attempt)
	}
	return ""
}

func (e ends) String() string {
	return fmt.Sprintf("%s, %.80s, failure %q, attempt %d", e.State, e.Value, e.Kind, e.Attempt)
}

// end waits for the end and compares it.
func (e ends) end(ctx context.Context, t *testing.T, c *jobs.Client) {
	t.Helper()
	if e.Members == nil {
		out, err := await.Outcome(ctx, jobs.TaskByID[json.RawMessage](c, e.ID))
		switch {
		case err != nil:
			t.Errorf("%s: %v", e.ID, err)
		default:
			if wrong := e.is(out); wrong != "" {
				t.Errorf("%s: %s; want %s", e.ID, wrong, e)
			}
		}
		return
	}
	g := jobs.GroupByID[json.RawMessage](c, e.ID)
	outs, err := await.Settled(ctx, g)
	if err != nil || len(outs) != len(e.Members) {
		t.Errorf("%s: %d members of %d, %v", e.ID, len(outs), len(e.Members), err)
		return
	}
	for i, out := range outs {
		if wrong := e.Members[i].is(out); wrong != "" {
			t.Errorf("%s, member %d: %s; want %s", e.ID, i, wrong, e.Members[i])
		}
	}
	if in := inspect(t, g); string(in.State) != e.State {
		t.Errorf("%s: %s, want %s", e.ID, in.State, e.State)
	}
}

// expected reads an expect.jsonl.
func expected(t *testing.T, path string) (list []ends) {
	t.Helper()
	for _, line := range fileLines(t, path) {
		var e ends
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		list = append(list, e)
	}
	return list
}

// What this version writes has its directory: who changes a format says so by its version, and keeps what was written before.
func TestTheFormatsOfThisVersionAreKept(t *testing.T) {
	if _, err := os.Stat(filepath.Join(formatsDir, formatsNow(), "keys.redis")); err != nil {
		t.Errorf("%v: a format has another version; write its golden files with: go test ./integration -run TestWriteFormats -update", err)
	}
}

// Whatever a release has written is read: what had ended is awaited as it was, what was open ends, and nothing is left over.
func TestFormatsOfEveryReleaseAreRead(t *testing.T) {
	t.Parallel()
	dirs, err := filepath.Glob(filepath.Join(formatsDir, "*"))
	if err != nil || len(dirs) == 0 {
		t.Fatal("no formats", err)
	}
	for _, dir := range dirs {
		for _, server := range []func(testing.TB) *redistest.Server{redistest.Embedded, func(t testing.TB) *redistest.Server { return redistest.Local(t) }} {
			s := server(t)
			t.Run(filepath.Base(dir)+"/"+s.Name, func(t *testing.T) {
				t.Parallel()
				loadKeys(t, s.Client(t), filepath.Join(dir, "keys.redis"))
				list := expected(t, filepath.Join(dir, "expect.jsonl"))
				c := client(t, s, jobs.ClientConfig{})
				ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
				defer cancel()
				open := 0
				for _, e := range list { // nobody works yet
					if e.Open {
						open++
						if in := inspect(t, ref(c, e)); in.State.Final() {
							t.Errorf("%s is %s before a worker is there", e.ID, in.State)
						}
					} else {
						e.end(ctx, t, c)
					}
				}
				if open == 0 || open == len(list) {
					t.Fatalf("%d of %d are open: there must be both", open, len(list))
				}
				w := worker(t, s, "--queues", "default=1,later=1,returned=1", "--concurrency", "8")
				for _, e := range list {
					e.end(ctx, t, c)
				}
				if dead := w.metric(t, `gatherq_repairs_total{kind="dead_worker"}`); dead < 1 {
					t.Errorf("%v dead workers were found", dead)
				}
				healthy(t, s)
			})
		}
		t.Run(filepath.Base(dir)+"/notices", func(t *testing.T) {
			kinds := map[byte]bool{}
			for _, line := range fileLines(t, filepath.Join(dir, "notices.redis")) {
				err := record.ParseNotices([]byte(words(t, line)[0]), func(n record.Notice) {
					kinds[n.Kind] = true
					if n.Kind == 't' && n.Outcome != nil && (n.Outcome.State == "" || n.Outcome.FinishedAt.IsZero()) {
						t.Errorf("%.100s: %+v", line, n.Outcome)
					}
				})
				if err != nil {
					t.Errorf("%.100s: %v", line, err)
				}
			}
			for _, kind := range []byte("tobpc") {
				if !kinds[kind] {
					t.Errorf("no notice of kind %c", kind)
				}
			}
		})
	}
}

// ref is a handle of whose end it is.
func ref(c *jobs.Client, e ends) jobs.Ref {
	if e.Members != nil {
		return jobs.GroupByID[json.RawMessage](c, e.ID)
	}
	return jobs.TaskByID[json.RawMessage](c, e.ID)
}

// The kinds of keys that golden files must have; the others live for seconds.
var lasting = []string{"r", "z", "h", "u", "a", "v", "i", "x", "y", "p", "f", "m", "open", "outbox", "w", "meta", "workers"}

// missingKinds returns those of lasting that no key is of.
func missingKinds(names []string, parse func(string) string) (missing []string) {
	for _, kind := range lasting {
		if !slices.ContainsFunc(names, func(key string) bool { return parse(key) == kind }) {
			missing = append(missing, kind)
		}
	}
	return missing
}
