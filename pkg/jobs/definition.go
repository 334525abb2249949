package jobs

import (
	"iter"
	"time"
)

// None is the argument or the result of a task that has none.
type None = struct{}

// Definition names a task type with arguments A and result R. It is immutable, safe for concurrent use, and touches no
// Redis. Its zero value is refused where it is used.
type Definition[A, R any] struct {
	name string
	opts []Option
}

// Define returns the definition of a task type, [a-z0-9][a-z0-9._-]{0,63}; opts are the defaults of its calls. A bad name or
// option does not panic: it is the error of every CreateTask, Gather and Run that uses the definition (Err tells it at once).
func Define[A, R any](name string, opts ...Option) Definition[A, R] {
	return Definition[A, R]{name: name, opts: opts}
}

// Name returns the name of the task type.
func (d Definition[A, R]) Name() string { return d.name }

// Err returns what is wrong with the definition, a *RejectedError, or nil.
func (d Definition[A, R]) Err() error {
	if r := checkType(d.name); r != nil {
		return r
	}
	var s settings
	if r := s.define(d.opts); r != nil {
		return r
	}
	return nil
}

// Call returns a call that nothing has started. Opts go before those of the definition. The arguments are encoded when the
// call is created; until then they are the caller's to leave alone.
func (d Definition[A, R]) Call(args A, opts ...CallOption) Call[R] {
	return Call[R]{callSpec: callSpec{typ: d.name, args: args, defaults: d.opts, opts: opts, made: true}}
}

// Calls returns one call for each of args.
func (d Definition[A, R]) Calls(args ...A) []Call[R] {
	calls := make([]Call[R], len(args))
	for i, a := range args {
		calls[i] = d.Call(a)
	}
	return calls
}

// CallSeq is Calls over a sequence, for GatherSeq.
func (d Definition[A, R]) CallSeq(args iter.Seq[A]) iter.Seq[Call[R]] {
	return func(yield func(Call[R]) bool) {
		for a := range args {
			if !yield(d.Call(a)) {
				return
			}
		}
	}
}

// Call is one run of a task type, not created yet: a value, may be copied and used again (each use is a new task,
// unless it has an ID). Its zero value is refused.
type Call[R any] struct {
	callSpec
	_ [0]R
}

// callSpec is a call without its result type.
type callSpec struct {
	typ      string
	args     any
	defaults []Option     // the definition's
	opts     []CallOption // the call's own
	made     bool         // by a definition: the zero Call is refused
}

// Type returns the name of the task type.
func (c Call[R]) Type() string { return c.typ }

// resolve applies the defaults, the definition's options, those of the gather that the call stands in, and its own.
func (c *callSpec) resolve(retention time.Duration, around []GatherOption) (settings, *RejectedError) {
	s := newSettings(retention)
	if !c.made {
		return s, rejected("call", "the zero Call: make one with Definition.Call")
	}
	if r := checkType(c.typ); r != nil {
		return s, r
	}
	if r := s.define(c.defaults); r != nil {
		return s, r
	}
	if r := s.inherit(around); r != nil {
		return s, r
	}
	return s, s.call(c.opts)
}

func (c Call[R]) member() memberOf[R] { return memberOf[R]{} }
func (c Call[R]) anyMember() anyPart  { return anyPart{call: &c.callSpec} }
