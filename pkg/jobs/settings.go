package jobs

import (
	"cmp"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Bounds and defaults of settings; they are those of the command line.
const (
	defaultQueue      = "default"
	defaultRetention  = time.Hour
	defaultMaxPending = 7 * 24 * time.Hour

	maxRetries   = 1000
	maxCrashes   = 1000
	maxBackoff   = 24 * time.Hour
	maxTimeout   = 24 * time.Hour
	maxGrace     = 10 * time.Minute
	minRetention = time.Second
	maxRetention = 30 * 24 * time.Hour

	// maxAhead bounds what has no bound of its own, so that all times stay exact as milliseconds in Redis' doubles.
	maxAhead = 100 * 365 * 24 * time.Hour
)

// settings is what the options of one task or group come to.
type settings struct {
	queue      string
	task       record.Options
	retention  time.Duration
	maxPending time.Duration

	id       string
	conflict ConflictPolicy
	delay    time.Duration
	delayed  bool // Delay was said, if only with 0
	at       time.Time
	deadline time.Time

	maxRunning int // of a gather; 0: no bound
}

// newSettings returns the defaults.
func newSettings(retention time.Duration) settings {
	return settings{queue: defaultQueue, retention: retention, maxPending: defaultMaxPending}
}

// define applies the defaults of a definition.
func (s *settings) define(opts []Option) *RejectedError {
	for _, o := range opts {
		if o == nil {
			return rejected("option", "nil")
		}
		if r := o.applyDefine(s); r != nil {
			return r
		}
	}
	return nil
}

// inherit applies those options of a gather that are defaults of its calls.
func (s *settings) inherit(opts []GatherOption) *RejectedError {
	for _, o := range opts {
		if d, ok := o.(Option); ok {
			if r := d.applyDefine(s); r != nil {
				return r
			}
		}
	}
	return nil
}

// call applies a call's own options.
func (s *settings) call(opts []CallOption) *RejectedError {
	for _, o := range opts {
		if o == nil {
			return rejected("option", "nil")
		}
		if r := o.applyCall(s); r != nil {
			return r
		}
	}
	return s.check()
}

// gather applies all options of a gather, as those of the group.
func (s *settings) gather(opts []GatherOption) *RejectedError {
	for _, o := range opts {
		if o == nil {
			return rejected("option", "nil")
		}
		if r := o.applyGather(s); r != nil {
			return r
		}
	}
	return s.check()
}

// check applies the rules that need more than one option.
func (s *settings) check() *RejectedError {
	if s.delayed && !s.at.IsZero() {
		return rejected("at", "not together with a delay")
	}
	return nil
}

// later reports whether the start may lie in the future.
func (s *settings) later() bool { return s.delay > 0 || !s.at.IsZero() }

func (s *settings) onConflict() record.Conflict {
	switch s.conflict {
	case ConflictError:
		return record.Error
	case ConflictRerun:
		return record.Rerun
	}
	return record.Return
}

// millis rounds up: nothing is early, and nothing positive becomes nothing.
func millis(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// between refuses what lies outside a closed range.
func between[T cmp.Ordered](field string, v, least, most T) *RejectedError {
	if v < least {
		return rejected(field, fmt.Sprintf("%v, at least %v", v, least))
	}
	if v > most {
		return rejected(field, fmt.Sprintf("%v, at most %v", v, most))
	}
	return nil
}

func checkRetention(d time.Duration) *RejectedError {
	return between("retention", d, minRetention, maxRetention)
}

// checkTime refuses instants that Redis' milliseconds cannot hold or that nobody means.
func checkTime(field string, t time.Time) *RejectedError {
	if t.IsZero() {
		return rejected(field, "the zero time")
	}
	if t.Year() < 1970 || t.Year() > 9999 {
		return rejected(field, fmt.Sprintf("year %d, from 1970 to 9999", t.Year()))
	}
	return nil
}
