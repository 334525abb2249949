package jobs

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// The words of the command line's contract, in its order.
func TestDecision33_Words(t *testing.T) {
	kinds := []ErrorKind{
		ErrFailed, ErrPanicked, ErrGoexit, ErrBadArgs, ErrResultTooLarge, ErrUnknownType, ErrNonDeterministic,
		ErrCycle, ErrSuspendLimit, ErrTimedOut, ErrDeadline, ErrCrashLoop, ErrCancelled, ErrUnknown, ErrExpired, ErrLost, ErrRejected,
		ErrConflict, ErrSealed, ErrBackpressure, ErrUnavailable, ErrIndeterminate, ErrNotDurable,
	}
	want := strings.Fields(`error panic goexit bad_args result_too_large unknown_type nondeterministic wait_cycle too_many_suspended
		timeout deadline crash_loop cancelled unknown expired lost rejected conflict sealed backpressure unavailable indeterminate not_durable`)
	if !slices.EqualFunc(kinds, want, func(k ErrorKind, s string) bool { return string(k) == s }) {
		t.Error("kinds", kinds)
	}
	for _, k := range kinds {
		if !slices.Contains(knownKinds, k) {
			t.Error("not known:", k)
		}
	}
	states := []State{
		StateScheduled, StatePending, StateRunning, StateSuspended, StateRetrying, StateCancelling, StateFinishing,
		StateSucceeded, StateFailed, StateCancelled, StateTimedOut, StateCrashLoop, StateLost, StateExpired,
	}
	want = strings.Fields(`scheduled pending running suspended retrying cancelling finishing
		succeeded failed cancelled timed_out crash_loop lost expired`)
	for i, s := range states {
		if string(s) != want[i] || s.Final() != (i >= 7) {
			t.Error("state", s, s.Final())
		}
	}
}

// Every kind against every sentinel, as a bare kind, inside an *Error and wrapped once more.
func TestErrorsIsMatrix(t *testing.T) {
	for _, k := range append(slices.Clone(knownKinds), "from_a_newer_version") {
		forms := map[string]error{"kind": k, "error": &Error{Kind: k}, "wrapped": fmt.Errorf("w: %w", &Error{Kind: k})}
		for _, target := range knownKinds {
			want := k == target || target == ErrFailed && k == "from_a_newer_version"
			for name, err := range forms {
				if errors.Is(err, target) != want {
					t.Errorf("%s of %q is %q: %v, want %v", name, k, target, !want, want)
				}
			}
		}
		for name, err := range forms {
			if want := k == ErrTimedOut || k == ErrDeadline; errors.Is(err, context.DeadlineExceeded) != want {
				t.Errorf("%s of %q is DeadlineExceeded: want %v", name, k, want)
			}
			if errors.Is(err, context.Canceled) {
				t.Errorf("%s of %q is Canceled", name, k)
			}
		}
	}
}

func TestRejectedErrorIs(t *testing.T) {
	for _, test := range []struct {
		kind ErrorKind
		is   []ErrorKind
	}{
		{"", []ErrorKind{ErrRejected}},
		{ErrRejected, []ErrorKind{ErrRejected}},
		{ErrConflict, []ErrorKind{ErrConflict, ErrRejected}},
		{ErrSealed, []ErrorKind{ErrSealed, ErrRejected}},
		{ErrBackpressure, []ErrorKind{ErrBackpressure}},
	} {
		for _, target := range knownKinds {
			err := fmt.Errorf("w: %w", &RejectedError{Kind: test.kind})
			if want := slices.Contains(test.is, target); errors.Is(err, target) != want {
				t.Errorf("%q is %q: want %v", test.kind, target, want)
			}
		}
	}
}

func TestErrorMessages(t *testing.T) {
	cause := errors.New("dial tcp: refused")
	for _, test := range []struct {
		err  error
		want string
	}{
		{ErrCancelled, "gatherq: cancelled"},
		{&Error{Kind: ErrUnknown, ID: "a"}, "gatherq: unknown a"},
		{&Error{Kind: ErrFailed, ID: "a", Type: "sum", Attempt: 1, Message: "boom"}, "gatherq: error a (sum): boom"},
		{&Error{Kind: ErrFailed, ID: "a", Type: "sum", Attempt: 3, Message: "boom", cause: cause}, "gatherq: error a (sum) at attempt 3: boom"},
		{&Error{Kind: ErrUnavailable, cause: cause}, "gatherq: unavailable: dial tcp: refused"},
		{rejected("queue", "empty"), "gatherq: rejected: queue: empty"},
		{rejected("queue", "empty").at(0), "gatherq: rejected: call 0: queue: empty"},
		{&RejectedError{Kind: ErrConflict, Field: "id", Why: "a exists", Index: 7}, "gatherq: conflict: id: a exists"},
		{&RejectedError{}, "gatherq: rejected"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("got  %s\nwant %s", got, test.want)
		}
	}
}

const (
	errNoImage = ErrorCode("image.missing")
	errQuota   = ErrorCode("quota")
)

func TestErrorCodesTravel(t *testing.T) {
	child := &Error{Kind: ErrFailed, Codes: []ErrorCode{errQuota}}
	for _, test := range []struct {
		name string
		err  error
		want []ErrorCode
	}{
		{"nil", nil, nil},
		{"none", errors.New("x"), nil},
		{"bare", errNoImage, []ErrorCode{errNoImage}},
		{"wrapped", fmt.Errorf("a: %w", fmt.Errorf("b: %w", errNoImage)), []ErrorCode{errNoImage}},
		{"joined", errors.Join(errQuota, fmt.Errorf("%w and %w", errNoImage, errQuota)), []ErrorCode{errQuota, errNoImage}},
		{"marked", Permanent(RetryAfter(errNoImage, 1)), []ErrorCode{errNoImage}},
		{"of an awaited task", fmt.Errorf("child: %w", child), []ErrorCode{errQuota}},
	} {
		got := codesOf(test.err)
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
		for _, code := range got {
			if e := (&Error{Kind: ErrFailed, Codes: got}); !errors.Is(e, code) || errors.Is(e, ErrorCode("other")) {
				t.Errorf("%s: an *Error with its codes does not match", test.name)
			}
		}
	}
	var many error
	for i := range 1000 {
		many = errors.Join(many, ErrorCode(fmt.Sprint("code-", i)))
	}
	if n := len(codesOf(many)); n != maxCodes {
		t.Errorf("%d codes travel, at most %d", n, maxCodes)
	}
}

func TestPermanentAndRetryAfter(t *testing.T) {
	base := errors.New("boom")
	if Permanent(nil) != nil || RetryAfter(nil, time.Second) != nil {
		t.Error("nil is marked")
	}
	if permanent(base) || permanent(nil) {
		t.Error("unmarked is permanent")
	}
	for _, err := range []error{Permanent(base), fmt.Errorf("w: %w", Permanent(base)), RetryAfter(Permanent(base), 1), errors.Join(base, Permanent(base))} {
		if !permanent(err) || !errors.Is(err, base) {
			t.Errorf("%T is not permanent", err)
		}
	}
	if Permanent(base).Error() != "boom" || RetryAfter(base, 1).Error() != "boom" {
		t.Error("a mark changes the message")
	}
	for _, test := range []struct{ in, want time.Duration }{
		{-time.Second, 0},
		{0, 0},
		{time.Millisecond, time.Millisecond},
		{24 * time.Hour, 24 * time.Hour},
		{24*time.Hour + 1, 24 * time.Hour},
	} {
		got, ok := retryAfter(fmt.Errorf("w: %w", RetryAfter(base, test.in)))
		if !ok || got != test.want {
			t.Errorf("RetryAfter %v: %v %v, want %v", test.in, got, ok, test.want)
		}
	}
	if _, ok := retryAfter(base); ok {
		t.Error("unmarked has a wait")
	}
	if got, _ := retryAfter(RetryAfter(RetryAfter(base, time.Hour), time.Second)); got != time.Second {
		t.Error("the outermost wait does not win:", got)
	}
}
