package jobstest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
	"github.com/gatherq/gatherq/pkg/jobs/jobstest"
)

var (
	upper = jobs.Define[string, string]("upper", jobs.Retries(1))
	words = jobs.Define[string, []string]("words")
)

// A task that fails and is tried again a day later, in no time.
func TestABackoffOfADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := jobstest.New(t)
		jobs.Handle(f.Worker, upper, func(ctx context.Context, s string) (string, error) {
			if jobs.Current(ctx).Attempt == 1 {
				return "", jobs.RetryAfter(errors.New("not today"), 24*time.Hour)
			}
			return strings.ToUpper(s), nil
		})
		f.Start()
		begin := time.Now()
		task, err := jobs.CreateTask(t.Context(), f.Client, upper.Call("a"))
		if err != nil {
			t.Fatal(err)
		}
		out, err := await.Outcome(t.Context(), task)
		if err != nil || out.Value != "A" || out.Attempt != 2 {
			t.Errorf("%+v, %v", out, err)
		}
		if took := time.Since(begin); took < 24*time.Hour || took > 24*time.Hour+time.Second {
			t.Errorf("took %s of virtual time, want a day", took)
		}
	})
}

// A handler that ignores its context is settled without it at time-out plus grace.
func TestTimeoutAndGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := jobstest.New(t, jobstest.WithWorker(jobs.WorkerConfig{Concurrency: 1}))
		deaf := jobs.Define[jobs.None, int]("deaf", jobs.Timeout(time.Minute), jobs.Grace(10*time.Second))
		jobs.Handle(f.Worker, deaf, func(context.Context, jobs.None) (int, error) {
			time.Sleep(2 * time.Minute)
			return 1, nil
		})
		f.Start()
		begin := time.Now()
		task, err := jobs.CreateTask(t.Context(), f.Client, deaf.Call(jobs.None{}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := await.Result(t.Context(), task); !errors.Is(err, jobs.ErrTimedOut) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(begin).Round(time.Second); took != 70*time.Second {
			t.Errorf("settled after %s, want 1m10s", took)
		}
		if s := f.Worker.Stats(); s.Stuck != 1 {
			t.Errorf("%+v, want its slot taken", s)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if s := f.Worker.Stats(); s.Stuck != 0 || s.Running != 0 {
			t.Errorf("%+v, want its slot back", s)
		}
	})
}

// The code under test gathers; what it gathers is stubbed.
func TestStubs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := jobstest.New(t)
		jobstest.Stub(f, words, func(s string) ([]string, error) { return strings.Fields(s), nil })
		f.Start()
		g, err := jobs.Gather(t.Context(), f.Client, words.Calls("a b", "", "c"))
		if err != nil {
			t.Fatal(err)
		}
		all, err := await.All(t.Context(), g)
		if err != nil || fmt.Sprint(all) != "[[a b] [] [c]]" {
			t.Errorf("%v, %v", all, err)
		}
	})
}

const errEmpty = jobs.ErrorCode("text.empty")

func TestRun(t *testing.T) {
	var seen []string
	f := jobstest.New(t, jobstest.WithWorker(jobs.WorkerConfig{Middleware: []jobs.Middleware{
		func(ctx context.Context, next func(context.Context) error) error {
			seen = append(seen, jobs.Current(ctx).ID)
			return next(ctx)
		},
	}}))
	fn := func(ctx context.Context, s string) ([]string, error) {
		switch {
		case jobs.ClientFrom(ctx) != f.Client:
			return nil, errors.New("another client")
		case s == "":
			return nil, fmt.Errorf("attempt %d: %w", jobs.Current(ctx).Attempt, errEmpty)
		case s == "panic":
			panic("boom")
		}
		return strings.Fields(s), nil
	}
	if got, err := jobstest.Run(t.Context(), f, words, fn, "a b", jobs.Run{}); err != nil || !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q, %v", got, err)
	}
	_, err := jobstest.Run(t.Context(), f, words, fn, "", jobs.Run{ID: "x", Attempt: 3})
	if e, ok := errors.AsType[*jobs.Error](err); !ok || e.Message != "attempt 3: text.empty" || !errors.Is(err, errEmpty) || !errors.Is(err, jobs.ErrFailed) || e.ID != "x" {
		t.Errorf("got %#v", err)
	}
	if _, err := jobstest.Run(t.Context(), f, words, fn, "panic", jobs.Run{}); !errors.Is(err, jobs.ErrPanicked) {
		t.Errorf("got %v", err)
	}
	bad := jobs.Define[string, []string]("No!")
	if _, err := jobstest.Run(t.Context(), f, bad, fn, "", jobs.Run{}); !errors.Is(err, jobs.ErrRejected) {
		t.Errorf("got %v", err)
	}
	if want := []string{"test", "x", "test"}; !slices.Equal(seen, want) {
		t.Errorf("the middleware saw %q, want %q", seen, want)
	}
}
