package worker

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gatherq/gatherq/internal/record"
)

// Job is one delivery of a task, as its handler sees it.
type Job struct {
	ID       string
	Type     string
	Queue    string
	Attempt  int   // 1 + charged failures
	Delivery int64 // larger at each hand-over: the fencing token
	Crashes  int
	Group    string // of a member
	Index    int    // of a member
	QueuedAt time.Time
	Deadline time.Time // by Redis' clock; zero: none
	Args     []byte    // the codec's bytes, out of their envelope
}

// Handler runs a job once and says how that went. Its context ends with one of Causes. A panic or runtime.Goexit is caught.
type Handler func(ctx context.Context, j *Job) Result

// Result is what came of one run. Failure nil means success with Value.
type Result struct {
	Value   []byte          // the codec's bytes, without envelope
	Failure *record.Failure // Kind, Message, Codes, Stack; Kind "cancelled" ends the task as cancelled

	Canceled  bool           // the failure is a context.Canceled: after a cancel that means cancelled
	Permanent bool           // not to be retried
	After     *time.Duration // the wait before the next attempt, instead of the backoff
}

// Causes are what a handler's context ends with: values of the package that the handlers belong to.
type Causes struct {
	Draining error // the worker stops; what the handler returns does not count, the task is delivered again
	Fenced   error // the task runs elsewhere by now; what the handler returns does not count
	TimedOut error // this delivery ran longer than its Timeout
	Deadline error // the task's Deadline has passed
	// Cancelled returns the cause of a cancel with that reason.
	Cancelled func(reason string) error
}

// Kinds of failure that the executor itself finds.
const (
	kindPanic       = "panic"
	kindGoexit      = "goexit"
	kindTooLarge    = "result_too_large"
	kindBadArgs     = "bad_args"
	kindUnknownType = "unknown_type"
	kindTimeout     = "timeout"
	kindDeadline    = "deadline"
	kindCancelled   = "cancelled"
)

// TextMax is how many bytes of an error's message, and of a stack, are kept.
const TextMax = 16 << 10

// Panicked returns the failure of a handler that panicked with v. It is called in the deferred function that recovered.
func Panicked(v any) *record.Failure {
	return &record.Failure{Kind: kindPanic, Message: Clip(describe(v)), Stack: Clip(string(debug.Stack()))}
}

// describe formats a panic's value; its own String or Error method may panic, too.
func describe(v any) (s string) {
	defer func() {
		if recover() != nil {
			s = fmt.Sprintf("a %T whose text panics", v)
		}
	}()
	return fmt.Sprint(v)
}

// Clip makes s valid UTF-8 of at most TextMax bytes.
func Clip(s string) string { return cut(strings.ToValidUTF8(cut(s), "\uFFFD")) }

// cut keeps at most TextMax bytes of s, and no part of a rune at its end.
func cut(s string) string {
	if len(s) <= TextMax {
		return s
	}
	n := TextMax
	for n > TextMax-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// stateOf returns how a task ends with that failure.
func stateOf(f *record.Failure) record.State {
	switch {
	case f == nil:
		return record.Succeeded
	case f.Kind == kindCancelled:
		return record.Cancelled
	case f.Kind == kindTimeout, f.Kind == kindDeadline:
		return record.TimedOut
	default:
		return record.Failed
	}
}
