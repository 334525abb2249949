package jobs

import (
	"reflect"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/names"
)

// Unexported names for what package await needs of a handle: embedded, they stay out of the documentation.
type (
	handle           = core.Handle
	one[R any]       = core.One[R]
	many[R any]      = core.Many[R]
	awaitable[R any] = core.Awaitable[R]
	setOf[R any]     = core.Set[R]
)

// Ref is any handle: a *Task, a *Group, or its Settled view. It is sealed. A handle is an ID and a client: free to make, without
// I/O, safe to share. A nil or zero handle, and one whose ID or client was refused, is no panic: every use of it is ErrRejected.
type Ref interface {
	// ID returns the ID of the task or group.
	ID() string
	handle
}

// Awaitable is a handle that ends in one R: a *Task[R], or a *Group[T] with R = []T.
type Awaitable[R any] interface {
	Ref
	Member[R]
	awaitable[R]
}

// Set is a handle whose members end in an R each: a *Group[R], or what await.Of returns.
type Set[R any] interface {
	setOf[R]
}

// Member is what may stand in a gather and yields an R: a Call[R], or an Awaitable[R] created by anyone before.
type Member[R any] interface {
	AnyMember
	member() memberOf[R]
}

// AnyMember is a Member of whatever result type.
type AnyMember interface {
	anyMember() anyPart
}

type (
	// memberOf holds no value: it lets the compiler see R.
	memberOf[R any] struct{ _ [0]R }

	// anyPart is a member without its type: a call, or a handle of something that exists, which may be refused; of nil, neither.
	anyPart struct {
		call *callSpec
		ref  handle
	}
)

// Mixed makes members of different result types fit into one gather; its results are Values. See await.Into.
func Mixed(members ...AnyMember) []Member[Value] {
	mixed := make([]Member[Value], len(members))
	for i, m := range members {
		mixed[i] = untyped{m}
	}
	return mixed
}

// untyped is a member whose result stays undecoded.
type untyped struct{ m AnyMember }

func (untyped) member() memberOf[Value] { return memberOf[Value]{} }

func (u untyped) anyMember() anyPart {
	if p := reflect.ValueOf(u.m); !p.IsValid() || p.Kind() == reflect.Pointer && p.IsNil() {
		return anyPart{}
	}
	return u.m.anyMember()
}

// refTo returns what a handle holds. What is wrong with c or id comes out where the handle is used.
func refTo(c *Client, id string, kind core.Kind, check func(string) error) core.Ref {
	if c == nil || c.engine == nil {
		return core.NewRef(nil, id, kind, rejected("client", "nil: make one with NewClient"))
	}
	if err := check(id); err != nil {
		return core.NewRef(c.engine, id, kind, refusal(err))
	}
	return core.NewRef(c.engine, id, kind, nil)
}

// Task is a handle of one task, running, ended, or not even existing.
type Task[R any] struct {
	one[R]
}

// TaskByID returns a handle of a task that anyone created, of a member as "<group>:<index>" too. It does no I/O; R is the
// caller's word, checked when the result is decoded.
func TaskByID[R any](c *Client, id string) *Task[R] {
	return &Task[R]{core.NewOne[R](refTo(c, id, core.Task, names.AnyID))}
}

// ID returns the task's ID.
func (t *Task[R]) ID() string {
	if t == nil {
		return ""
	}
	return core.IDOf(t)
}

func (t *Task[R]) member() memberOf[R] { return memberOf[R]{} }
func (t *Task[R]) anyMember() anyPart  { return anyPart{ref: t} }

// Group is a handle of a gather. It ends with its outcome: the first member, in the order in which Redis recorded them,
// that failed or was cancelled, and at once; else the values, when all have ended. Members that had ended before the
// gather count in call order.
type Group[R any] struct {
	many[R]
}

// GroupByID returns a handle of a group that anyone created. It does no I/O.
func GroupByID[R any](c *Client, id string) *Group[R] {
	return &Group[R]{core.NewMany[R](refTo(c, id, core.Group, names.GroupID))}
}

// ID returns the group's ID.
func (g *Group[R]) ID() string {
	if g == nil {
		return ""
	}
	return core.IDOf(g)
}

// Member returns a handle of the member at place i, without I/O.
func (g *Group[R]) Member(i int) Awaitable[R] {
	id, e, err := g.view()
	if err == nil {
		err = asRefusal(names.Index(i))
	}
	return &Task[R]{core.NewOne[R](core.NewRef(e, keys.Member(id, i), core.Task, err))}
}

// Settled views the group as return_exceptions=True does: it ends at the barrier, when all members have ended, and a
// member's failure is an item. Await it, nest it, Cancel it (until the barrier; then it ends as cancelled).
func (g *Group[R]) Settled() Awaitable[[]Outcome[R]] {
	id, e, err := g.view()
	return &settled[R]{core.NewOne[[]Outcome[R]](core.NewRef(e, id, core.Settled, err))}
}

// view returns what another handle of g's is made of.
func (g *Group[R]) view() (id string, e *core.Engine, err error) {
	ref, err := core.RefOf(g)
	if err != nil {
		return "", nil, err
	}
	return ref.ID(), ref.Engine(), nil
}

// asRefusal is refusal without the typed nil.
func asRefusal(err error) error {
	if r := refusal(err); r != nil {
		return r
	}
	return nil
}

type settled[R any] struct {
	one[[]Outcome[R]]
}

func (s *settled[R]) ID() string                     { return core.IDOf(s) }
func (s *settled[R]) member() memberOf[[]Outcome[R]] { return memberOf[[]Outcome[R]]{} }
func (s *settled[R]) anyMember() anyPart             { return anyPart{ref: s} }

func (g *Group[R]) member() memberOf[[]R] { return memberOf[[]R]{} }
func (g *Group[R]) anyMember() anyPart    { return anyPart{ref: g} }

var (
	_ Awaitable[int]   = (*Task[int])(nil)
	_ Awaitable[[]int] = (*Group[int])(nil)
	_ Set[int]         = (*Group[int])(nil)
	_ Member[int]      = Call[int]{}
)
