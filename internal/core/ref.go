package core

import (
	"reflect"

	"github.com/gatherq/gatherq/internal/record"
)

// Kind is what a handle names.
type Kind byte

// The kinds.
const (
	Task    Kind = iota + 1 // a task, or a group's member
	Group                   // a group: it ends with its outcome
	Settled                 // the view of a group that ends at its barrier
)

// Ref is an ID at one client, untyped: what every handle holds. It does no I/O and is immutable.
type Ref struct {
	id     string
	engine *Engine
	kind   Kind
	bad    error // why nothing can be done with it
}

// NewRef returns the Ref of an ID that names accepts, or one that is refused with bad wherever it is used.
func NewRef(e *Engine, id string, kind Kind, bad error) Ref {
	return Ref{id: id, engine: e, kind: kind, bad: bad}
}

// ID returns the ID of the task or group; "" of nil.
func (r *Ref) ID() string {
	if r == nil {
		return ""
	}
	return r.id
}

// Kind returns what r names.
func (r *Ref) Kind() Kind { return r.kind }

// Engine returns the engine of the client that r was made with.
func (r *Ref) Engine() *Engine { return r.engine }

// View returns the end that an await of r waits for.
func (r *Ref) View() record.View {
	switch r.kind {
	case Group:
		return record.OutcomeView
	case Settled:
		return record.BarrierView
	}
	return record.Whole
}

func (r *Ref) interest() record.Interest { return record.Interest{ID: r.id, View: r.View()} }

// Handle is a type that embeds One or Many.
type Handle interface{ handle() *Ref }

// RefOf returns the Ref inside h. Nil and zero handles, and those that were refused when they were made, are errors for the
// user: *jobs.RejectedError.
func RefOf(h Handle) (*Ref, error) {
	if isNil(h) {
		return nil, face.Refusal("handle", "nil")
	}
	r := h.handle()
	switch {
	case r == nil || r.engine == nil && r.bad == nil:
		return nil, face.Refusal("handle", "its zero value: make one with CreateTask, Gather, TaskByID or GroupByID")
	case r.bad != nil:
		return nil, r.bad
	}
	return r, nil
}

// IDOf returns the ID inside h, which is not nil, also where it was refused.
func IDOf(h Handle) string { return h.handle().ID() }

// isNil finds the nil pointer inside an interface, too: its promoted methods would panic.
func isNil(h any) bool {
	if h == nil {
		return true
	}
	v := reflect.ValueOf(h)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// One is a Ref whose end holds one R.
type One[R any] struct{ ref Ref }

// NewOne returns what a handle of one R embeds.
func NewOne[R any](r Ref) One[R] { return One[R]{ref: r} }

func (o *One[R]) handle() *Ref                 { return &o.ref }
func (o *One[R]) decode(f *Fate) (R, error)    { return decodeAs[R](f) }
func (m *Many[R]) handle() *Ref                { return &m.ref }
func (m *Many[R]) decode(f *Fate) ([]R, error) { return decodeAs[[]R](f) }
func (m *Many[R]) each(f *Fate, into *R) error { return face.Decode(f, into) }

// Many is a Ref whose end holds one R for each member.
type Many[R any] struct{ ref Ref }

// NewMany returns what a handle of a group embeds.
func NewMany[R any](r Ref) Many[R] { return Many[R]{ref: r} }

// Awaitable is a handle that ends in one R.
type Awaitable[R any] interface {
	Handle
	decode(f *Fate) (R, error)
}

// Set is a handle whose members end in one R each.
type Set[R any] interface {
	Handle
	each(f *Fate, into *R) error
}

// Loose is a set put together by the awaiter; nothing of it is in Redis.
type Loose[R any] struct{ Members []Handle }

func (l *Loose[R]) handle() *Ref                { return nil }
func (l *Loose[R]) each(f *Fate, into *R) error { return face.Decode(f, into) }
func (l *Loose[R]) loose() []Handle             { return l.Members }

// MembersOf returns the members of a loose set, and false for a group.
func MembersOf[R any](s Set[R]) ([]Handle, bool) {
	if l, ok := s.(interface{ loose() []Handle }); ok && !isNil(s) {
		return l.loose(), true
	}
	return nil, false
}

// Distinct returns the handles without those that stand before them already, and the place of each among all.
func Distinct(handles []Handle) (once []Handle, places []int) {
	type what struct {
		engine *Engine
		id     string
		kind   Kind
	}
	seen := map[what]bool{}
	for i, h := range handles {
		if r, err := RefOf(h); err == nil {
			w := what{r.engine, r.id, r.kind}
			if seen[w] {
				continue
			}
			seen[w] = true
		}
		once, places = append(once, h), append(places, i)
	}
	return once, places
}
