package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// The exit codes of the commands. Scripts rely on them: their meaning never changes.
const (
	ExitOK          = 0   // done
	ExitFailed      = 1   // the task or group failed
	ExitUsage       = 2   // bad usage or input; nothing was enqueued
	ExitCancelled   = 3   // the task or group was cancelled
	ExitUnknown     = 4   // the ID is unknown, expired or lost
	ExitUnavailable = 5   // Redis is not reachable, or what happened is not known
	ExitRefused     = 6   // refused for now: try again
	ExitTimeout     = 124 // the awaiter's own time-out; the work goes on
	ExitInterrupted = 130 // Ctrl-C; the work goes on
)

// ErrInterrupted is the cause with which InterruptContext ends a context.
var ErrInterrupted = errors.New("interrupted")

// ExitError is an error that says how the process exits. Execute prints Err, unless that is nil: then everything has been
// said already.
type ExitError struct {
	Code int
	Err  error
}

// Error returns the message of Err, or the code where there is none.
func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *ExitError) Unwrap() error { return e.Err }

// Exit returns err as an error that exits with code. A nil err exits silently; code 0 is nil.
func Exit(code int, err error) error {
	if code == ExitOK {
		return nil
	}
	return &ExitError{Code: code, Err: err}
}

// Usagef returns an error about the input: exit code 2. The message names the flag or field, and its limit.
func Usagef(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

// Code returns the exit code that err stands for: that of an ExitError in its chain, else that of what jobs and await
// returned, else 1. Of several errors joined it is that of the first that is none of the process' own; nil is 0.
func Code(err error) int {
	if err == nil {
		return ExitOK
	}
	if e, ok := errors.AsType[*ExitError](err); ok {
		return e.Code
	}
	if errors.Is(err, ErrInterrupted) {
		return ExitInterrupted
	}
	// An await that gave up wraps its context's cause, which may itself look like a task's time-out: ask for it first.
	if errors.Is(err, await.ErrGaveUp) {
		if errors.Is(err, context.Canceled) {
			return ExitInterrupted
		}
		return ExitTimeout
	}
	if e, ok := errors.AsType[*jobs.Error](err); ok {
		return CodeOfKind(e.Kind)
	}
	if e, ok := errors.AsType[*jobs.RejectedError](err); ok {
		return CodeOfKind(e.Kind)
	}
	if kind, ok := errors.AsType[jobs.ErrorKind](err); ok {
		return CodeOfKind(kind)
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return ExitFailed
}

// CodeOfKind returns the exit code of an error.kind; of one that this version does not know, that of a failed task. The
// empty kind is success.
func CodeOfKind(kind jobs.ErrorKind) int {
	switch kind {
	case "":
		return ExitOK
	case jobs.ErrCancelled:
		return ExitCancelled
	case jobs.ErrUnknown, jobs.ErrExpired, jobs.ErrLost:
		return ExitUnknown
	case jobs.ErrRejected, jobs.ErrConflict, jobs.ErrSealed:
		return ExitUsage
	case jobs.ErrBackpressure:
		return ExitRefused
	case jobs.ErrUnavailable, jobs.ErrIndeterminate, jobs.ErrNotDurable, jobs.ErrClosed:
		return ExitUnavailable
	}
	return ExitFailed
}
