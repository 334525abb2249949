package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// world is what a program touches, in memory.
type world struct {
	log    []string
	exited []int
	fail   error
	run    jobs.Run
}

func (w *world) Incr(_ context.Context, key string) error {
	w.log = append(w.log, "incr "+key)
	return w.fail
}

func (w *world) Enter(_ context.Context, key string) (func() error, error) {
	w.log = append(w.log, "enter "+key)
	return func() error {
		w.log = append(w.log, "leave "+key)
		return nil
	}, w.fail
}

func (w *world) simulator() *simulator {
	return &simulator{
		counters: w,
		exit:     func(code int) { w.exited = append(w.exited, code) },
		current:  func(context.Context) jobs.Run { return w.run },
	}
}

func decode(t testing.TB, args string) program {
	t.Helper()
	var p program
	if err := json.Unmarshal([]byte(args), &p); err != nil {
		t.Fatalf("%s: %v", args, err)
	}
	return p
}

func TestSimSteps(t *testing.T) {
	run := jobs.Run{Attempt: 2, Delivery: 5}
	tests := []struct {
		args      string
		want      string
		fail      string
		permanent bool
		took      time.Duration
		log       string
	}{
		{args: `{"steps":[]}`, want: `null`},
		{args: `{"steps":[{"return":{"a" : [1.50, "<&>é"]}}]}`, want: `{"a" : [1.50, "<&>é"]}`},
		{args: `{"steps":[{"return":12345678901234567890123}]}`, want: `12345678901234567890123`},
		{args: `{"steps":[{"return":null}]}`, want: `null`},
		{args: `{"steps":[{"return":1},{"raise":"never"}]}`, want: `1`},
		{args: `{"steps":[{"sleep_ms":1500},{"return":1}]}`, want: `1`, took: 1500 * time.Millisecond},
		{args: `{"steps":[{"sleep_ms":0},{"ignore_cancel_ms":70}]}`, want: `null`, took: 70 * time.Millisecond},
		{args: `{"steps":[{"bytes":3}]}`, want: `"xxx"`},
		{args: `{"steps":[{"bytes":0},{"sleep_ms":5}]}`, want: `""`, took: 5 * time.Millisecond},
		{args: `{"steps":[{"bytes":3},{"return":1}]}`, want: `1`},
		{args: `{"steps":[{"busy_ms":0}]}`, want: `null`},
		{args: `{"steps":[{"incr":"a"},{"incr":"b"},{"return":1}]}`, want: `1`, log: "incr a,incr b"},
		{args: `{"steps":[{"gauge":"g","busy_ms":0},{"incr":"a"}]}`, want: `null`, log: "enter g,leave g,incr a"},
		{args: `{"steps":[{"raise":"bo\"om"}]}`, fail: `bo"om`},
		{args: `{"steps":[{"raise":""}]}`, fail: ``},
		{args: `{"steps":[{"raise":"m","retry":true}]}`, fail: `m`},
		{args: `{"steps":[{"raise":"m","retry":false}]}`, fail: `m`, permanent: true},
		{args: `{"steps":[{"fail_until_attempt":2},{"return":1}]}`, want: `1`},
		{args: `{"steps":[{"incr":"r"},{"fail_until_attempt":3},{"return":1}]}`, fail: `attempt 2 fails: fail_until_attempt is 3`, log: "incr r"},
		{args: `{"steps":[{"return":"$attempt"}]}`, want: `2`},
		{args: `{"steps":[{"return":"$delivery"}]}`, want: `5`},
		{args: `{"steps":[{"return":"$cause"}]}`, want: `null`},
		{args: `{"steps":[{"return":"$last"}]}`, want: `null`},
		{args: `{"steps":[{"return":["$attempt"]}]}`, want: `["$attempt"]`},
		{args: `{"steps":[{"return":"$attempts"}]}`, want: `"$attempts"`},
		{args: `{"steps":[{"sleep_ms":10}],"on_cancel":{"return":7}}`, want: `null`, took: 10 * time.Millisecond},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			w := &world{run: run}
			begin := time.Now()
			got, err := w.simulator().run(t.Context(), decode(t, tt.args))
			if tt.want == "" {
				if err == nil || err.Error() != tt.fail || isPermanent(err) != tt.permanent {
					t.Errorf("%s: %s, %v (permanent %v)", tt.args, got, err, isPermanent(err))
				}
			} else if err != nil || string(got) != tt.want {
				t.Errorf("%s: %s, %v; want %s", tt.args, got, err, tt.want)
			}
			if took := time.Since(begin); took != tt.took {
				t.Errorf("%s: took %v, want %v", tt.args, took, tt.took)
			}
			if log := strings.Join(w.log, ","); log != tt.log {
				t.Errorf("%s: %s, want %s", tt.args, log, tt.log)
			}
		})
	}
}

// TestSimCancel is the rule of the oracle's body(): a cancel in a sleep goes through on_cancel, once, and a second one changes
// nothing.
func TestSimCancel(t *testing.T) {
	tests := []struct {
		args  string
		cause error
		want  string // of the value
		fail  string
		took  time.Duration // the cancel comes at 100 ms
	}{
		{args: `{"steps":[{"sleep_ms":400},{"return":1}]}`, cause: jobs.ErrCancelled, fail: "gatherq: cancelled", took: 100},
		{args: `{"steps":[{"sleep_ms":400}],"on_cancel":{"sleep_ms":50}}`, cause: jobs.ErrCancelled, fail: "gatherq: cancelled", took: 150},
		{args: `{"steps":[{"sleep_ms":400}],"on_cancel":{"sleep_ms":50,"return":{"a" : 7}}}`, cause: jobs.ErrCancelled, want: `{"a" : 7}`, took: 150},
		{args: `{"steps":[{"sleep_ms":400}],"on_cancel":{"return":null}}`, cause: jobs.ErrCancelled, want: `null`, took: 100},
		{args: `{"steps":[{"sleep_ms":400}],"on_cancel":{"sleep_ms":50,"raise":"late"}}`, cause: jobs.ErrCancelled, fail: "late", took: 150},
		{args: `{"steps":[{"sleep_ms":400}],"on_cancel":{"return":"$cause"}}`, cause: jobs.ErrCancelled, want: `"cancelled"`, took: 100},
		{args: `{"steps":[{"sleep_ms":400}],"on_cancel":{"return":"$cause"}}`, cause: fmt.Errorf("w: %w", &jobs.Error{Kind: jobs.ErrTimedOut}), want: `"timeout"`, took: 100},
		{args: `{"steps":[{"sleep_ms":400}],"on_cancel":{"return":"$cause"}}`, cause: errors.New("other"), want: `"other"`, took: 100},
		{args: `{"steps":[{"sleep_ms":400}],"on_cancel":{"sleep_ms":50,"return":1}}`, cause: jobs.ErrDraining, fail: "gatherq: draining", took: 100},
		{args: `{"steps":[{"sleep_ms":400}],"on_cancel":{"sleep_ms":50,"return":1}}`, cause: jobs.ErrFenced, fail: "gatherq: fenced", took: 100},
		{args: `{"steps":[{"ignore_cancel_ms":400},{"return":"$cause"}],"on_cancel":{"return":1}}`, cause: jobs.ErrCancelled, want: `"cancelled"`, took: 400},
		{args: `{"steps":[{"ignore_cancel_ms":400},{"sleep_ms":400}],"on_cancel":{"return":1}}`, cause: jobs.ErrCancelled, want: `1`, took: 400},
		{args: `{"steps":[{"ignore_cancel_ms":400},{"sleep_ms":0},{"return":2}],"on_cancel":{"return":1}}`, cause: jobs.ErrCancelled, want: `1`, took: 400},
		{args: `{"steps":[{"ignore_cancel_ms":400},{"busy_ms":5}],"on_cancel":{"return":1}}`, cause: jobs.ErrCancelled, fail: "gatherq: cancelled", took: 400},
		{args: `{"steps":[{"ignore_cancel_ms":400},{"raise":"own"}],"on_cancel":{"return":1}}`, cause: jobs.ErrCancelled, fail: "own", took: 400},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(100*time.Millisecond, func() { cancel(tt.cause) })
			begin := time.Now()
			got, err := (&world{}).simulator().run(ctx, decode(t, tt.args))
			if tt.want == "" {
				if err == nil || err.Error() != tt.fail {
					t.Errorf("%s: %s, %v; want %s", tt.args, got, err, tt.fail)
				}
			} else if err != nil || string(got) != tt.want {
				t.Errorf("%s: %s, %v; want %s", tt.args, got, err, tt.want)
			}
			if took := time.Since(begin); took != tt.took*time.Millisecond {
				t.Errorf("%s: took %v, want %v", tt.args, took, tt.took*time.Millisecond)
			}
		})
	}
}

func TestSimBusy(t *testing.T) {
	w := &world{}
	begin := time.Now()
	if _, err := w.simulator().run(t.Context(), decode(t, `{"steps":[{"gauge":"g","busy_ms":20}]}`)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 20*time.Millisecond {
		t.Errorf("took %v", took)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(jobs.ErrCancelled) })
	if _, err := w.simulator().run(ctx, decode(t, `{"steps":[{"gauge":"g","busy_ms":60000}]}`)); !errors.Is(err, jobs.ErrCancelled) {
		t.Errorf("error %v", err)
	}
	begin = time.Now()
	if got, err := w.simulator().run(ctx, decode(t, `{"steps":[{"spin_ms":20},{"return":"$cause"}]}`)); string(got) != `"cancelled"` || err != nil || time.Since(begin) < 20*time.Millisecond {
		t.Errorf("a loop that hears nothing ended after %v with %s, %v", time.Since(begin), got, err)
	}
	if log := strings.Join(w.log, ","); log != "enter g,leave g,enter g,leave g" {
		t.Errorf("log %s", log)
	}
}

func TestSimEndings(t *testing.T) {
	w := &world{}
	if _, err := w.simulator().run(t.Context(), decode(t, `{"steps":[{"exit":3}]}`)); err != nil || len(w.exited) != 1 || w.exited[0] != 3 {
		t.Errorf("exit: %v, %v", w.exited, err)
	}
	func() {
		defer func() {
			if got := recover(); got != "oh" {
				t.Errorf("panic %v", got)
			}
		}()
		_, _ = w.simulator().run(t.Context(), decode(t, `{"steps":[{"panic":"oh"}]}`))
	}()
	w.fail = errors.New("no answer")
	for args, want := range map[string]string{
		`{"steps":[{"incr":"k"}]}`:               "incr k: no answer",
		`{"steps":[{"gauge":"k","busy_ms":50}]}`: "gauge k: no answer",
	} {
		if _, err := w.simulator().run(t.Context(), decode(t, args)); err == nil || err.Error() != want || isPermanent(err) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
