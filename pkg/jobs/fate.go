package jobs

import (
	"cmp"
	"fmt"
	"reflect"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/record"
)

// face shows package await how ends and failures look; it may not see our inside.
type face struct{}

func init() { core.UseFace(face{}) } //nolint:gochecknoinits // await links this package in any case, and nothing runs before it

func (face) Decode(f *core.Fate, target any) error { return decode(f, target) }

func (face) Outcome(f *core.Fate, target any) {
	target.(interface{ fill(*core.Fate) }).fill(f) //nolint:forcetypeassert // an *Outcome
}

func (face) Failure(f *core.Fate) error { return failure(f) }

func (face) Trouble(kind, id string, cause error) error {
	return &Error{Kind: ErrorKind(kind), ID: id, cause: cause}
}

func (face) Refusal(field, why string) error { return rejected(field, why) }

// failure is the *Error of an end without a value; nil of a success. It is the one place where what stands in Redis becomes an
// error of ours.
func failure(f *core.Fate) error {
	if f.State == record.Succeeded {
		return nil
	}
	if f.First != nil && f.First.State != record.Succeeded {
		return failure(f.First)
	}
	e := &Error{
		Kind: kindOf(f), ID: f.Name(), Type: f.Type, Group: f.Group, Index: f.Index, Attempt: f.Attempt, Delivery: int(f.Delivery),
		Started: !f.StartedAt.IsZero(), At: f.FinishedAt,
	}
	if r := f.Outcome.Failure; r != nil {
		e.Message, e.Stack = r.Message, r.Stack
		for _, c := range r.Codes {
			e.Codes = append(e.Codes, ErrorCode(c))
		}
	}
	return e
}

// kindOf is the kind that stands in the record, or what the state says where none does.
func kindOf(f *core.Fate) ErrorKind {
	var written ErrorKind
	if r := f.Outcome.Failure; r != nil {
		written = ErrorKind(r.Kind)
	}
	switch f.State {
	case record.Cancelled:
		return cmp.Or(written, ErrCancelled)
	case record.TimedOut:
		return cmp.Or(written, ErrTimedOut)
	case record.CrashLoop:
		return cmp.Or(written, ErrCrashLoop)
	case record.Lost:
		return ErrLost
	case record.Expired:
		return ErrExpired
	}
	return cmp.Or(written, ErrFailed)
}

// undecodable is the error of a value that does not fit the type asked for.
func undecodable(f *core.Fate, why string) error {
	return &Error{Kind: ErrUndecodable, ID: f.Name(), Type: f.Type, Group: f.Group, Index: f.Index, Attempt: f.Attempt, Delivery: int(f.Delivery), Message: why}
}

// decode decodes the value of f, which has succeeded, into target, a pointer. A group's value goes into a slice member by
// member, that of a Settled view into a slice of Outcomes; what wants the JSON itself, Value and json.RawMessage, gets it
// with its bytes as the handlers wrote them. Anything else is decoded from the JSON array.
func decode(f *core.Fate, target any) error {
	if v, ok := target.(*Value); ok {
		kept := *f // who reads a group uses f again for its next member
		*v = Value{fate: &kept}
		return nil
	}
	if f.Raw.IsList {
		slice := reflect.ValueOf(target).Elem()
		if slice.Kind() == reflect.Slice && slice.Type() != rawMessage && (!f.Raw.Items || isOutcome(slice.Type().Elem())) {
			return decodeList(f, slice)
		}
	}
	data, err := jsonOf(f)
	if err != nil {
		return err
	}
	if err := decodeJSON(data, target); err != nil {
		return undecodable(f, fmt.Sprintf("as %T: %v", target, err))
	}
	return nil
}

// isOutcome reports whether t is an Outcome of any type.
func isOutcome(t reflect.Type) bool { return reflect.PointerTo(t).Implements(filler) }

var filler = reflect.TypeFor[interface{ fill(*core.Fate) }]()

func decodeList(f *core.Fate, slice reflect.Value) error {
	list := reflect.MakeSlice(slice.Type(), len(f.Raw.List), len(f.Raw.List))
	for i := range f.Raw.List {
		member, place := &f.Raw.List[i], list.Index(i).Addr().Interface()
		if f.Raw.Items {
			place.(interface{ fill(*core.Fate) }).fill(member) //nolint:forcetypeassert // isOutcome has said so
			continue
		}
		err := failure(member)
		if err == nil {
			err = decode(member, place)
		}
		if err != nil {
			return err
		}
	}
	slice.Set(list)
	return nil
}
