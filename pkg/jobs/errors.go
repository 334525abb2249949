package jobs

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrorKind is a class of error, and an error itself: match with errors.Is(err, jobs.ErrCancelled), switch on Error.Kind. Its
// string is error.kind on the command line and over HTTP. The lists only grow; a kind that this version does not know
// matches ErrFailed.
type ErrorKind string

// How a task ended, as an *Error. Some are written by newer workers only.
const (
	ErrFailed           ErrorKind = "error"              // the handler returned an error
	ErrPanicked         ErrorKind = "panic"              // the handler panicked: Error.Stack
	ErrGoexit           ErrorKind = "goexit"             // the handler called runtime.Goexit
	ErrBadArgs          ErrorKind = "bad_args"           // the stored arguments do not decode; not retried
	ErrResultTooLarge   ErrorKind = "result_too_large"   // over MaxResult; not retried
	ErrUnknownType      ErrorKind = "unknown_type"       // no worker of its queue knows the type: WorkerConfig.UnknownTypeWait
	ErrNonDeterministic ErrorKind = "nondeterministic"   // it ran again and called something else at the same place; not retried
	ErrCycle            ErrorKind = "wait_cycle"         // its await closed a circle of waits; not retried
	ErrSuspendLimit     ErrorKind = "too_many_suspended" // unwound twice in a row without progress
	ErrTimedOut         ErrorKind = "timeout"            // a delivery ran longer than Timeout; also context.DeadlineExceeded
	ErrDeadline         ErrorKind = "deadline"           // past its Deadline, or not started within MaxPending; also context.DeadlineExceeded
	ErrCrashLoop        ErrorKind = "crash_loop"         // it killed its worker too often: MaxCrashes
	ErrCancelled        ErrorKind = "cancelled"          // with the reason. Not context.Canceled: that is the awaiter's own
)

// What is known of an ID, as an *Error.
const (
	ErrUnknown ErrorKind = "unknown" // nobody created it, or everything about it is long over
	ErrExpired ErrorKind = "expired" // it ended, and its retention is over
	ErrLost    ErrorKind = "lost"    // its record was seen and is gone
)

// Why nothing was stored, as a *RejectedError. ErrConflict is also the end, as an *Error, of a gather's member with an ID of its own that somebody
// else took between the asking and the commit.
const (
	ErrRejected     ErrorKind = "rejected"     // bad input; ErrConflict and ErrSealed are this as well
	ErrConflict     ErrorKind = "conflict"     // the ID is there, with another type or other arguments, or OnConflict refuses it
	ErrSealed       ErrorKind = "sealed"       // the group takes no more
	ErrBackpressure ErrorKind = "backpressure" // Redis is full: try later
)

// What Redis did not say, as an *Error with the ID.
const (
	ErrUnavailable   ErrorKind = "unavailable"   // no answer: of a creation, nothing was stored; of an await, ClientConfig.Patience is over and the work goes on
	ErrIndeterminate ErrorKind = "indeterminate" // it may or may not have happened; the same call with Error.ID is safe
	ErrNotDurable    ErrorKind = "not_durable"   // the task exists and the handle is returned; it is not yet as durable as was asked for
)

// Of this process; they never stand in a record.
const (
	ErrNotDone     ErrorKind = "not_done"    // of an Outcome before the end
	ErrUndecodable ErrorKind = "undecodable" // the value does not fit the type asked for here
	ErrClosed      ErrorKind = "closed"      // the client was closed
	ErrDraining    ErrorKind = "draining"    // context.Cause in a handler: the worker stops; delivered again, nothing charged
	ErrFenced      ErrorKind = "fenced"      // context.Cause in a handler: the task runs elsewhere by now
	// ErrCancelled, ErrTimedOut and ErrDeadline are causes, too.
)

var knownKinds = []ErrorKind{
	ErrFailed, ErrPanicked, ErrGoexit, ErrBadArgs, ErrResultTooLarge, ErrUnknownType, ErrNonDeterministic, ErrCycle,
	ErrSuspendLimit, ErrTimedOut, ErrDeadline, ErrCrashLoop, ErrCancelled, ErrUnknown, ErrExpired, ErrLost, ErrRejected,
	ErrConflict, ErrSealed, ErrBackpressure, ErrUnavailable, ErrIndeterminate, ErrNotDurable, ErrNotDone, ErrUndecodable,
	ErrClosed, ErrDraining, ErrFenced,
}

func (k ErrorKind) Error() string { return "gatherq: " + string(k) }

// Is makes ErrTimedOut and ErrDeadline context.DeadlineExceeded as well, and kinds that this version does not know ErrFailed.
func (k ErrorKind) Is(target error) bool {
	switch target {
	case context.DeadlineExceeded:
		return k == ErrTimedOut || k == ErrDeadline
	case ErrFailed:
		return k != "" && !slices.Contains(knownKinds, k)
	}
	return false
}

// Error is how a task ended when not with a value, what became of an ID, or what Redis left open; the same on every host.
// For ErrFailed it is the handler's error after a trip through Redis: message and codes stay, the Go type does not.
type Error struct {
	Kind     ErrorKind
	ID       string // of the task or group, also when it was generated
	Type     string
	Group    string // the gather it was a member of
	Index    int    // its place there, or among the calls of CreateTasks
	Attempt  int    // 1 + charged failures
	Delivery int
	Started  bool // false: it ended before any handler saw it
	Message  string
	Codes    []ErrorCode // those in the chain of the handler's error
	Stack    string      // of a panic
	At       time.Time

	cause error // of this process, say the context's end behind ErrIndeterminate; it does not travel
}

// Error says kind, ID, type, attempt and message, in this order, as far as they are known.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Kind.Error())
	if e.ID != "" {
		b.WriteString(" " + e.ID)
	}
	if e.Type != "" {
		b.WriteString(" (" + e.Type + ")")
	}
	if e.Attempt > 1 {
		b.WriteString(" at attempt " + strconv.Itoa(e.Attempt))
	}
	switch {
	case e.Message != "":
		b.WriteString(": " + e.Message)
	case e.cause != nil:
		b.WriteString(": " + e.cause.Error())
	}
	return b.String()
}

// Is matches the Kind, what that Kind matches, and the codes.
func (e *Error) Is(target error) bool {
	switch t := target.(type) {
	case ErrorKind:
		return e.Kind == t || e.Kind.Is(t)
	case ErrorCode:
		return slices.Contains(e.Codes, t)
	}
	return e.Kind.Is(target)
}

// Unwrap returns what this process met behind ErrIndeterminate and ErrUnavailable: the connection's error, or the cause of
// the caller's context. It is nil for an end that was read from Redis.
func (e *Error) Unwrap() error { return e.cause }

// ErrorCode is an error of the user's own that is still itself on the other side: declare it as a constant, wrap it in
// the handler, match it with errors.Is at the awaiter.
type ErrorCode string

func (c ErrorCode) Error() string { return string(c) }

// Permanent marks a handler's error as not to be retried. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// RetryAfter marks a handler's error with the wait before the next attempt, in place of its Backoff: 0 to 24 h, what lies
// outside counts as the nearer bound. It grants no attempts beyond Retries. RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err: err, after: min(max(d, 0), maxBackoff)}
}

type permanentError struct{ err error }

func (e *permanentError) Error() string { return e.err.Error() }
func (e *permanentError) Unwrap() error { return e.err }

type retryAfterError struct {
	err   error
	after time.Duration
}

func (e *retryAfterError) Error() string { return e.err.Error() }
func (e *retryAfterError) Unwrap() error { return e.err }

// permanent reports whether Permanent marks err or something it wraps.
func permanent(err error) bool {
	_, ok := errors.AsType[*permanentError](err)
	return ok
}

// retryAfter returns the wait of the outermost RetryAfter in err.
func retryAfter(err error) (time.Duration, bool) {
	if e, ok := errors.AsType[*retryAfterError](err); ok {
		return e.after, true
	}
	return 0, false
}

// maxCodes bounds how many codes of one error travel, so that a record stays small whatever a handler joins.
const maxCodes = 64

// codesOf returns the codes in the tree of err, each once, those of an awaited task's *Error among them.
func codesOf(err error) []ErrorCode {
	var codes []ErrorCode
	note := func(found ...ErrorCode) {
		for _, c := range found {
			if len(codes) < maxCodes && !slices.Contains(codes, c) {
				codes = append(codes, c)
			}
		}
	}
	var walk func(error)
	walk = func(err error) {
		switch e := err.(type) { //nolint:errorlint // the tree is walked by hand
		case ErrorCode:
			note(e)
		case *Error:
			note(e.Codes...)
		}
		switch e := err.(type) { //nolint:errorlint // as above
		case interface{ Unwrap() error }:
			if inner := e.Unwrap(); inner != nil {
				walk(inner)
			}
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				if inner != nil {
					walk(inner)
				}
			}
		}
	}
	if err != nil {
		walk(err)
	}
	return codes
}

// RejectedError says which input was refused, before anything was stored.
type RejectedError struct {
	Kind  ErrorKind // ErrRejected, ErrConflict, ErrSealed or ErrBackpressure
	Field string    // "args", "queue", "id", …
	Index int       // of the call, in CreateTasks and Gather
	Why   string    // with the limit

	listed bool // Index says something: it was one of several
	whole  bool // it is about Redis or the namespace, not about one of several
}

func (e *RejectedError) Error() string {
	var b strings.Builder
	b.WriteString(e.kind().Error())
	if e.listed {
		b.WriteString(": call " + strconv.Itoa(e.Index))
	}
	if e.Field != "" {
		b.WriteString(": " + e.Field)
	}
	if e.Why != "" {
		b.WriteString(": " + e.Why)
	}
	return b.String()
}

// Is matches the Kind, and ErrRejected unless the Kind is ErrBackpressure.
func (e *RejectedError) Is(target error) bool {
	return target == e.kind() || target == ErrRejected && e.kind() != ErrBackpressure
}

func (e *RejectedError) kind() ErrorKind {
	if e.Kind == "" {
		return ErrRejected
	}
	return e.Kind
}

// rejected is the refusal of one field.
func rejected(field, why string) *RejectedError {
	return &RejectedError{Kind: ErrRejected, Field: field, Why: why}
}

// at returns err as that of the call at place index among several.
func (e *RejectedError) at(index int) *RejectedError {
	c := *e
	c.Index, c.listed = index, true
	return &c
}
