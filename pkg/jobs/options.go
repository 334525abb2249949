package jobs

import (
	"time"

	"github.com/gatherq/gatherq/internal/names"
	"github.com/gatherq/gatherq/internal/record"
)

// Three nested sets say at compile time where an option may stand. Where two say the same setting, the call's own wins over
// the gather's, and that over the definition's. What is wrong with an option is the error of the creation that uses it.
type (
	// GatherOption is a setting of Gather: of the group, or a default of all its calls.
	GatherOption interface {
		applyGather(*settings) *RejectedError
	}
	// CallOption is a setting of one call; at a gather ID, OnConflict, Delay, At and Deadline hold for the group.
	CallOption interface {
		GatherOption
		applyCall(*settings) *RejectedError
	}
	// Option is a setting that may also be the default of a definition; at a gather it is one for all its calls.
	Option interface {
		CallOption
		applyDefine(*settings) *RejectedError
	}
)

type (
	gatherOption struct {
		apply func(*settings) *RejectedError
	}
	callOption struct{ gatherOption }
	option     struct{ callOption }
)

func (o gatherOption) applyGather(s *settings) *RejectedError { return o.apply(s) }
func (o callOption) applyCall(s *settings) *RejectedError     { return o.apply(s) }
func (o option) applyDefine(s *settings) *RejectedError       { return o.apply(s) }

func newCallOption(apply func(*settings) *RejectedError) CallOption {
	return callOption{gatherOption{apply}}
}

func newOption(apply func(*settings) *RejectedError) Option {
	return option{callOption{gatherOption{apply}}}
}

// Queue names the queue, [a-z0-9][a-z0-9._-]{0,63}; its weight in WorkerConfig.Queues is the priority. Defaults to "default".
func Queue(name string) Option {
	return newOption(func(s *settings) *RejectedError {
		s.queue = name
		return checkQueue(name)
	})
}

// Retries sets how often a failed task is tried again: n+1 attempts in all, 0 to 1,000. A crash, a drain or a give-back is
// never charged. Defaults to 0.
func Retries(n int) Option {
	return newOption(func(s *settings) *RejectedError {
		s.task.Retries = n
		return between("retries", n, 0, maxRetries)
	})
}

// Backoff sets the wait before a retry: initial, doubled up to max, with full jitter; it ends at the Deadline. 1 ms to
// 24 h. Defaults to 1 s, 5 min.
func Backoff(initial, max time.Duration) Option { //nolint:predeclared // the public name of the bound
	return newOption(func(s *settings) *RejectedError {
		s.task.BackoffInitialMS, s.task.BackoffMaxMS = millis(initial), millis(max)
		if r := between("backoff", initial, time.Millisecond, maxBackoff); r != nil {
			return r
		}
		return between("backoff max", max, initial, maxBackoff)
	})
}

// Timeout bounds the running time of one delivery; each delivery starts anew. 1 ms to 24 h. Defaults to 30 min.
func Timeout(d time.Duration) Option {
	return newOption(func(s *settings) *RejectedError {
		s.task.TimeoutMS = millis(d)
		return between("timeout", d, time.Millisecond, maxTimeout)
	})
}

// Grace is how long a handler may clean up after a cancel or its time-out; then the outcome is settled without it. 0 to
// 10 min. Defaults to 30 s.
func Grace(d time.Duration) Option {
	return newOption(func(s *settings) *RejectedError {
		ms := millis(d)
		s.task.GraceMS = &ms
		return between("grace", d, 0, maxGrace)
	})
}

// Retention keeps the outcome, from the end; of a group, from its barrier. Then the ID answers ErrExpired for as long
// again. 1 s to 30 d. Defaults to the client's.
func Retention(d time.Duration) Option {
	return newOption(func(s *settings) *RejectedError {
		s.retention = d
		return checkRetention(d)
	})
}

// MaxPending is the longest wait for a start, from when the task is due; then it ends with ErrDeadline, not started. 1 ms
// to 100 years. Defaults to 7 d.
func MaxPending(d time.Duration) Option {
	return newOption(func(s *settings) *RejectedError {
		s.maxPending = d
		return between("max-pending", d, time.Millisecond, maxAhead)
	})
}

// MaxCrashes is how many deaths of its worker end a task with ErrCrashLoop. A death is charged to what had started and not ended,
// unless the worker was draining. From the second on the task runs alone in its delivery, one such task at a time in a worker,
// and only such a run can be the last; a death that is 24 h old does not count any more. 3 to 1,000. Defaults to 3.
func MaxCrashes(n int) Option {
	return newOption(func(s *settings) *RejectedError {
		s.task.MaxCrashes = n
		return between("max-crashes", n, record.DefaultMaxCrashes, maxCrashes)
	})
}

// ID names the task or group: created once, however often it is called for. Tasks and groups share one space. It is
// [A-Za-z0-9][A-Za-z0-9._-]{0,127}, or a generated one that an ErrIndeterminate told; IDs with a ":" are gatherq's own:
// "<group>:<index>", and the generated "t:…" and "g:…".
func ID(id string) CallOption {
	return newCallOption(func(s *settings) *RejectedError {
		s.id = id
		return checkID(id)
	})
}

// OnConflict says what a creation with an ID that exists does. With another type or other arguments it is ErrConflict
// whatever the policy. Defaults to ConflictReturn.
func OnConflict(p ConflictPolicy) CallOption {
	return newCallOption(func(s *settings) *RejectedError {
		s.conflict = p
		if p < ConflictReturn || p > ConflictRerun {
			return rejected("on-conflict", "not one of return, error and rerun")
		}
		return nil
	})
}

// ConflictPolicy is what a creation does when the same one is there already.
type ConflictPolicy int

// The conflict policies.
const (
	ConflictReturn ConflictPolicy = iota // returns what is there, whatever its state, expired ones too
	ConflictError                        // ErrConflict
	ConflictRerun                        // runs it again if it ended without success, else as ConflictReturn
)

// Delay starts the task not before d from now, by Redis' clock. 0 to 100 years; not together with At. Defaults to 0.
func Delay(d time.Duration) CallOption {
	return newCallOption(func(s *settings) *RejectedError {
		s.delay, s.delayed = d, true
		return between("delay", d, 0, maxAhead)
	})
}

// At starts the task not before t; one that has passed is now. Not together with Delay. Defaults to now.
func At(t time.Time) CallOption {
	return newCallOption(func(s *settings) *RejectedError {
		s.at = t
		return checkTime("at", t)
	})
}

// Deadline is when the task must have ended, waits and backoff included; one that is due before its start never starts.
// Defaults to none.
func Deadline(t time.Time) CallOption {
	return newCallOption(func(s *settings) *RejectedError {
		s.deadline = t
		return checkTime("deadline", t)
	})
}

// MaxRunning lets at most n members of the group run at once, over the whole fleet; 1 to 10,000,000. Defaults to no bound.
//
// A member runs from when a worker has claimed it until its end, its failure or its return is recorded: who waits for a retry or a time
// does not count. Members that have been claimed together count together, also while short ones of them run one after the other. Tasks
// and groups that exist, and calls with an ID of their own, are not the group's to run: they do not count. It is a limit, not a mutex: a
// member whose worker was declared dead gives its place free, while its handler may still run where the worker is only cut off.
func MaxRunning(n int) GatherOption {
	return gatherOption{func(s *settings) *RejectedError {
		s.maxRunning = n
		return between("max-running", n, 1, names.MaxMembers)
	}}
}
