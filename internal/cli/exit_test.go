package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// TestDecision33_ExitCodes is the table of the command line's contract.
func TestDecision33_ExitCodes(t *testing.T) {
	table := map[string]struct {
		code  int
		kinds []string
	}{
		"failed":      {1, []string{"error", "panic", "goexit", "bad_args", "result_too_large", "unknown_type", "nondeterministic", "wait_cycle", "too_many_suspended"}},
		"timed out":   {1, []string{"timeout", "deadline"}},
		"crash loop":  {1, []string{"crash_loop"}},
		"cancelled":   {3, []string{"cancelled"}},
		"unknown":     {4, []string{"unknown", "expired", "lost"}},
		"refused":     {2, []string{"rejected", "conflict", "sealed"}},
		"try again":   {6, []string{"backpressure"}},
		"redis":       {5, []string{"unavailable", "indeterminate", "not_durable"}},
		"newer kinds": {1, []string{"of_the_future"}},
		"none":        {0, []string{""}},
	}
	for name, row := range table {
		for _, k := range row.kinds {
			kind := jobs.ErrorKind(k)
			if got := CodeOfKind(kind); got != row.code {
				t.Errorf("%s: CodeOfKind(%q) = %d, want %d", name, k, got, row.code)
			}
			if k == "" {
				continue
			}
			for _, err := range []error{&jobs.Error{Kind: kind}, &jobs.RejectedError{Kind: kind}, kind} {
				if got := Code(fmt.Errorf("wrapped: %w", err)); got != row.code {
					t.Errorf("%s: Code(%T of %q) = %d, want %d", name, err, k, got, row.code)
				}
			}
		}
	}
}

func TestCode(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"nil", nil, ExitOK},
		{"an error of no family", errors.New("x"), ExitFailed},
		{"exit error", fmt.Errorf("w: %w", Exit(42, errors.New("x"))), 42},
		{"usage", Usagef("--n %d", 1), ExitUsage},
		{"gave up at its deadline", fmt.Errorf("%w: %w", await.ErrGaveUp, context.DeadlineExceeded), ExitTimeout},
		{"gave up, the cause looks like a task's time-out", fmt.Errorf("%w: %w", await.ErrGaveUp, jobs.ErrTimedOut), ExitTimeout},
		{"gave up at Ctrl-C", fmt.Errorf("%w: %w", await.ErrGaveUp, ErrInterrupted), ExitInterrupted},
		{"gave up, context cancelled", fmt.Errorf("%w: %w", await.ErrGaveUp, context.Canceled), ExitInterrupted},
		{"a task's own time-out is no awaiter's", &jobs.Error{Kind: jobs.ErrTimedOut}, ExitFailed},
		{"context's deadline", context.DeadlineExceeded, ExitTimeout},
		{"context's cancel", context.Canceled, ExitInterrupted},
	}
	for _, tt := range tests {
		if got := Code(tt.err); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
	if err := Exit(ExitOK, errors.New("x")); err != nil {
		t.Errorf("Exit(0) = %v", err)
	}
}
