package jobs

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/record"
)

var rawMessage = reflect.TypeFor[json.RawMessage]()

// Value is a result not decoded yet: of Mixed, and of TaskByID[Value] where the type is not known. A group's is the values of its
// members, a Settled view's their outcomes. The zero Value is JSON's null.
type Value struct {
	fate *core.Fate
}

// Decode decodes v; ErrUndecodable where it does not fit T. Of a group, T is a slice; of a Settled view a slice of Outcomes.
func Decode[T any](v Value) (T, error) {
	var t T
	f := v.fate
	if f == nil {
		f = jsonFate([]byte("null"))
	}
	if err := decode(f, &t); err != nil {
		var none T
		return none, err
	}
	return t, nil
}

// JSON returns the bytes of v: of a task exactly those that its handler returned, of a group an array of them, of a Settled
// view an array of result lines. The error is ErrUndecodable, or that of a member whose value is gone.
//
// It is for writing a result as it is: json.Marshal of a Value compacts and escapes them.
func (v Value) JSON() ([]byte, error) {
	if v.fate == nil {
		return []byte("null"), nil
	}
	return appendJSON(nil, v.fate)
}

// MarshalJSON is JSON.
func (v Value) MarshalJSON() ([]byte, error) { return v.JSON() }

// UnmarshalJSON keeps data, so that a Value may stand inside other results.
func (v *Value) UnmarshalJSON(data []byte) error {
	v.fate = jsonFate(data)
	return nil
}

// jsonFate is the fate of a task that has succeeded with data.
func jsonFate(data []byte) *core.Fate {
	return &core.Fate{Outcome: record.Outcome{State: record.Succeeded}, Raw: core.Raw{Leaf: record.WrapPlain(data)}}
}

// appendJSON appends the JSON of a value.
func appendJSON(b []byte, f *core.Fate) ([]byte, error) {
	if !f.Raw.IsList {
		b, err := record.AppendUnwrapped(b, f.Raw.Leaf)
		return b, unreadable(f, err)
	}
	b = append(b, '[')
	for i := range f.Raw.List {
		if i > 0 {
			b = append(b, ',')
		}
		member := &f.Raw.List[i]
		var err error
		if f.Raw.Items {
			b, err = appendItem(b, member)
		} else if err = failure(member); err == nil {
			b, err = appendJSON(b, member)
		}
		if err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// jsonOf is appendJSON for who only reads the bytes: those of a task are not copied.
func jsonOf(f *core.Fate) ([]byte, error) {
	if f.Raw.IsList {
		return appendJSON(nil, f)
	}
	data, err := record.Unwrap(f.Raw.Leaf)
	return data, unreadable(f, err)
}

// unreadable is the error of a value whose envelope does not open; nil where err is.
func unreadable(f *core.Fate, err error) error {
	if err == nil {
		return nil
	}
	return undecodable(f, "the value cannot be read: "+err.Error())
}

// appendItem appends a result line.
func appendItem(b []byte, f *core.Fate) ([]byte, error) {
	var o Outcome[Value]
	o.fill(f)
	line, err := o.MarshalJSON()
	return append(b, line...), err
}

// compact returns data on one line, its strings and numbers as they are.
func compact(data []byte) ([]byte, error) {
	if !bytes.ContainsAny(data, " \t\r\n") {
		return data, nil
	}
	var out bytes.Buffer
	if err := json.Compact(&out, data); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
