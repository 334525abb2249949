package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/record"
)

func leaf(data string) *core.Fate {
	return &core.Fate{Outcome: record.Outcome{ID: "a", State: record.Succeeded}, Raw: core.Raw{Leaf: record.Wrap([]byte(data))}}
}

// listOf is the value of a group: results, and failures where the text begins with "!".
func listOf(items bool, values ...any) *core.Fate {
	f := &core.Fate{Outcome: record.Outcome{ID: "g", State: record.Succeeded}, Raw: core.Raw{IsList: true, Items: items}}
	for i, v := range values {
		var m core.Fate
		switch v := v.(type) {
		case *core.Fate:
			m = *v
		case string:
			if message, failed := strings.CutPrefix(v, "!"); failed {
				m = core.Fate{Outcome: record.Outcome{State: record.Failed, Failure: &record.Failure{Kind: "error", Message: message}}}
			} else {
				m = *leaf(v)
			}
		}
		m.Index, m.IsMember, m.ID, m.Group = i, true, "g:"+string(rune('0'+i)), "g"
		f.Raw.List = append(f.Raw.List, m)
	}
	return f
}

var hardJSON = []string{
	`{"b":1,"a":[9007199254740993,[],1.0]}`, `[]`, `{}`, `[[],[[]],{}]`, `null`, `"<a href='x'>&</a>"`, `"\u0000\u2028"`, `1e400`, `-0`, `"é😀"`,
	` {"a" : 1} `, "[1,\n2]", `12345678901234567890123456789`, strings.Repeat("[", 999) + strings.Repeat("]", 999),
}

// TestDecision10_BytesOfValues: what a handler returned is what comes out, byte for byte.
func TestDecision10_BytesOfValues(t *testing.T) {
	for _, data := range hardJSON {
		v, err := as[Value](leaf(data))
		if err != nil {
			t.Fatalf("%.40s: %v", data, err)
		}
		if got, err := v.JSON(); err != nil || string(got) != data {
			t.Errorf("%.40s: Value.JSON %.40s, %v", data, got, err)
		}
		raw, err := as[json.RawMessage](leaf(data))
		if err != nil || string(raw) != data {
			t.Errorf("%.40s: RawMessage %.40s, %v", data, raw, err)
		}
		line, err := Outcome[Value]{ID: "a", State: StateSucceeded, Value: v}.MarshalJSON()
		var want bytes.Buffer
		if err := json.Compact(&want, []byte(data)); err != nil {
			t.Fatal(err)
		}
		if err != nil || !bytes.Contains(line, append([]byte(`"value":`), want.Bytes()...)) || bytes.ContainsRune(line, '\n') {
			t.Errorf("%.40s: line %.200s, %v", data, line, err)
		}
		got, err := listValue(false, data, data).JSON()
		if want := "[" + data + "," + data + "]"; err != nil || string(got) != want {
			t.Errorf("%.40s: group %.90s, %v", data, got, err)
		}
	}
}

func as[T any](f *core.Fate) (t T, err error) {
	err = decode(f, &t)
	return t, err
}

func listValue(items bool, values ...any) Value { return Value{fate: listOf(items, values...)} }

func TestDecode(t *testing.T) {
	type point struct{ X, Y int }
	nested := listOf(false, listOf(false, `1`, `2`), listOf(false))
	for _, c := range []struct {
		name string
		got  func() (any, error)
		want any
	}{
		{"int", func() (any, error) { return as[int](leaf(`7`)) }, 7},
		{"struct", func() (any, error) { return as[point](leaf(`{"x":1,"Y":2,"z":3}`)) }, point{1, 2}},
		{"None", func() (any, error) { return as[None](leaf(`null`)) }, None{}},
		{"pointer", func() (any, error) { p, err := as[*int](leaf(`null`)); return p == nil, err }, true},
		{"group", func() (any, error) { return as[[]int](listOf(false, `1`, `2`)) }, []int{1, 2}},
		{"empty group", func() (any, error) { return as[[]int](listOf(false)) }, []int{}},
		{"group of bytes", func() (any, error) { return as[[]byte](listOf(false, `1`, `255`)) }, []byte{1, 255}},
		{"group of groups", func() (any, error) { return as[[][]int](nested) }, [][]int{{1, 2}, {}}},
		{"group into any", func() (any, error) { return as[any](nested) }, []any{[]any{1., 2.}, []any{}}},
		{"group into an array", func() (any, error) { return as[[2]int](listOf(false, `1`, `2`)) }, [2]int{1, 2}},
		{"group as RawMessage", func() (any, error) { return as[json.RawMessage](nested) }, json.RawMessage(`[[1,2],[]]`)},
		{"group into a named slice", func() (any, error) { type ints []int; v, err := as[ints](listOf(false, `1`)); return []int(v), err }, []int{1}},
		{"group of settled views", func() (any, error) {
			o, err := as[[][]Outcome[int]](listOf(false, listOf(true, `1`, "!no")))
			if err != nil {
				return nil, err
			}
			_, failed := o[0][1].Result()
			return []any{o[0][0].Value, o[0][1].State, errors.Is(failed, ErrFailed), o[0][1].Index}, nil
		}, []any{1, StateFailed, true, 1}},
		{"settled view as lines of one's own", func() (any, error) {
			type mine struct {
				State string
				Value int
			}
			return as[[]mine](listOf(true, `1`, "!no"))
		}, nil},
		{"Value, then decoded", func() (any, error) {
			v, err := as[Value](nested)
			if err != nil {
				return nil, err
			}
			return Decode[[][]int](v)
		}, [][]int{{1, 2}, {}}},
		{"Values of a group", func() (any, error) {
			vs, err := as[[]Value](nested)
			if err != nil {
				return nil, err
			}
			return Decode[[]int](vs[0])
		}, []int{1, 2}},
		{"zero Value", func() (any, error) { return Decode[*int](Value{}) }, (*int)(nil)},
	} {
		got, err := c.got()
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if c.want != nil && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v, want %#v", c.name, got, c.want)
		}
	}
}

func TestUndecodable(t *testing.T) {
	newer := leaf("")
	newer.Raw.Leaf = []byte{99, '1'}
	empty := leaf("")
	empty.Raw.Leaf = nil
	for name, got := range map[string]func() error{
		"wrong type":                    func() error { _, err := as[int](leaf(`"x"`)); return err },
		"too large":                     func() error { _, err := as[int8](leaf(`300`)); return err },
		"no JSON":                       func() error { _, err := as[int](leaf(`1 2`)); return err },
		"no JSON as RawMessage":         func() error { _, err := as[json.RawMessage](leaf(`{`)); return err },
		"newer envelope":                func() error { _, err := as[int](newer); return err },
		"no envelope":                   func() error { _, err := as[int](empty); return err },
		"newer envelope, Value":         func() error { _, err := Value{fate: newer}.JSON(); return err },
		"list into a number":            func() error { _, err := as[int](listOf(false, `1`)); return err },
		"member of a group":             func() error { _, err := as[[]int](listOf(false, `1`, `"x"`)); return err },
		"leaf into a slice of Outcomes": func() error { _, err := as[[]Outcome[int]](leaf(`3`)); return err },
	} {
		err := got()
		e, ok := errors.AsType[*Error](err)
		if !errors.Is(err, ErrUndecodable) || !ok || e.ID == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	o := Outcome[int]{}
	o.fill(leaf(`"x"`))
	if o.State != StateSucceeded || !errors.Is(o.Err, ErrUndecodable) {
		t.Errorf("outcome: %+v", o)
	}
}

func TestFailureOfAFate(t *testing.T) {
	at := time.UnixMilli(1700000000123).UTC()
	full := core.Fate{Outcome: record.Outcome{
		ID: "g:3", Type: "echo", Group: "g", Index: 3, State: record.Failed, Attempt: 2, Delivery: 9, StartedAt: at, FinishedAt: at,
		Failure: &record.Failure{Kind: "panic", Message: "boom", Codes: []string{"a.b"}, Stack: "stack"},
	}}
	e, _ := errors.AsType[*Error](failure(&full))
	want := &Error{
		Kind: ErrPanicked, ID: "g:3", Type: "echo", Group: "g", Index: 3, Attempt: 2, Delivery: 9, Started: true, Message: "boom",
		Codes: []ErrorCode{"a.b"}, Stack: "stack", At: at,
	}
	if !reflect.DeepEqual(e, want) {
		t.Errorf("%+v, want %+v", e, want)
	}
	group := core.Fate{Outcome: record.Outcome{ID: "g", State: record.Failed}, First: &full}
	if e, _ := errors.AsType[*Error](failure(&group)); !reflect.DeepEqual(e, want) {
		t.Errorf("of its group: %+v", e)
	}
	for state, kind := range map[record.State]ErrorKind{
		record.Failed: ErrFailed, record.Cancelled: ErrCancelled, record.TimedOut: ErrTimedOut, record.CrashLoop: ErrCrashLoop,
		record.Lost: ErrLost, record.Expired: ErrExpired, "from_a_newer_version": ErrFailed,
	} {
		if err := failure(&core.Fate{Outcome: record.Outcome{State: state}}); !errors.Is(err, kind) {
			t.Errorf("%s: %v", state, err)
		}
	}
	if err := failure(leaf(`1`)); err != nil {
		t.Error(err)
	}
}

func TestOutcomeJSON(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 5000, time.FixedZone("x", 3600))
	for _, c := range []struct {
		o    Outcome[Value]
		want string
	}{
		{Outcome[Value]{ID: "a", State: StateSucceeded, Attempt: 1, Delivery: 1}, `{"id":"a","state":"succeeded","value":null,"attempt":1,"delivery":1}`},
		{
			Outcome[Value]{ID: "g:0", member: true, Order: 4, State: StateFailed, Err: &Error{Kind: ErrFailed, Message: "<no>", Codes: []ErrorCode{"x"}}, Attempt: 2, Delivery: 3, Worker: "w", StartedAt: at},
			`{"id":"g:0","index":0,"order":4,"state":"failed","error":{"kind":"error","message":"<no>","codes":["x"]},"attempt":2,"delivery":3,"worker":"w","started_at":"2026-11-22T11:00:00.000005Z"}`,
		},
		{Outcome[Value]{ID: "a", State: StateRunning, Err: &Error{Kind: ErrNotDone}}, `{"id":"a","state":"running","attempt":0,"delivery":0}`},
		{Outcome[Value]{ID: `"value":0`, State: StateSucceeded}, `{"id":"\"value\":0","state":"succeeded","value":null,"attempt":0,"delivery":0}`},
		{Outcome[Value]{ID: "a", State: StateFailed, Err: errors.New("mine")}, `{"id":"a","state":"failed","error":{"kind":"error","message":"mine"},"attempt":0,"delivery":0}`},
	} {
		got, err := c.o.MarshalJSON()
		if err != nil || string(got) != c.want {
			t.Errorf("%s, %v\nwant %s", got, err, c.want)
		}
		if !json.Valid(got) {
			t.Errorf("%s is no JSON", got)
		}
	}
	var o Outcome[int]
	if err := json.Unmarshal([]byte(`{"id":"g:2","index":2,"state":"failed","error":{"kind":"timeout","message":"m","codes":["c"]},"attempt":3,"delivery":4,"finished_at":"2026-11-22T11:00:00Z"}`), &o); err != nil {
		t.Fatal(err)
	}
	e, _ := errors.AsType[*Error](o.Err)
	if e == nil || e.Group != "g" || e.Index != 2 || e.Attempt != 3 || !errors.Is(o.Err, ErrTimedOut) || !errors.Is(o.Err, ErrorCode("c")) || e.At.IsZero() {
		t.Errorf("%+v, %+v", o, e)
	}
	if err := json.Unmarshal([]byte(`{"id":"a","state":"running"}`), &o); err != nil || !errors.Is(o.Err, ErrNotDone) {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := o.Result(); !errors.Is(err, ErrNotDone) {
		t.Errorf("Result: %v", err)
	}
	if err := json.Unmarshal([]byte(`{"id":"a","state":"succeeded","value":"x"}`), &o); err == nil {
		t.Error("a value that does not fit passed")
	}
	if _, err := (Outcome[int]{}).Result(); !errors.Is(err, ErrNotDone) {
		t.Errorf("zero Outcome: %v", err)
	}
	if _, err := (Outcome[func()]{State: StateSucceeded}).MarshalJSON(); err == nil {
		t.Error("a func as JSON")
	}
}

// FuzzOutcomeJSON: what is read is written and read again the same.
func FuzzOutcomeJSON(f *testing.F) {
	for _, data := range hardJSON {
		f.Add(`{"id":"a","state":"succeeded","value":` + data + `}`)
	}
	f.Add(`{"id":"g:2","index":2,"order":7,"state":"failed","error":{"kind":"timeout","message":"m","codes":["c"],"stack":"s"},"attempt":3,"delivery":4,"worker":"w","queued_at":"2026-11-22T11:00:00.123456789Z","finished_at":"2026-11-22T12:00:00+01:00"}`)
	f.Add(`{"id":"a","state":"running"}`)
	f.Fuzz(func(t *testing.T, text string) {
		var first Outcome[Value]
		if json.Unmarshal([]byte(text), &first) != nil {
			return
		}
		line, err := first.MarshalJSON()
		if err != nil {
			return // a time or a value that does not go out as JSON
		}
		if !json.Valid(line) || bytes.ContainsRune(line, '\n') {
			t.Fatalf("%q is not one line of JSON", line)
		}
		var second Outcome[Value]
		if err := json.Unmarshal(line, &second); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		again, err := second.MarshalJSON()
		if err != nil || !bytes.Equal(line, again) {
			t.Fatalf("%q\n%q, %v", line, again, err)
		}
	})
}

// TestHandlesAreRefusedNotPanicking: nil, zero and ill-named handles.
func TestHandlesAreRefusedNotPanicking(t *testing.T) {
	c := &Client{engine: &core.Engine{}}
	var none *Group[int]
	for name, h := range map[string]Awaitable[int]{
		"nil":              nil,
		"nil task":         (*Task[int])(nil),
		"zero task":        &Task[int]{},
		"nil client":       TaskByID[int](nil, "a"),
		"zero client":      TaskByID[int](&Client{}, "a"),
		"ID":               TaskByID[int](c, "a}:t:x"),
		"empty ID":         TaskByID[int](c, ""),
		"ID of two lines":  TaskByID[int](c, "a\r\nb"),
		"member of a nil":  none.Member(1),
		"member below":     GroupByID[int](c, "g").Member(-1),
		"member above":     GroupByID[int](c, "g").Member(10_000_000),
		"member of a bad":  GroupByID[int](c, "g:1").Member(1),
		"member of a zero": (&Group[int]{}).Member(0),
	} {
		if _, err := Peek(t.Context(), h); !errors.Is(err, ErrRejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, h := range map[string]Awaitable[[]Outcome[int]]{"nil": none.Settled(), "bad ID": GroupByID[int](c, "g:1").Settled()} {
		if _, err := Peek(t.Context(), h); !errors.Is(err, ErrRejected) {
			t.Errorf("settled view of %s: %v", name, err)
		}
	}
	if none.ID() != "" || (*Task[int])(nil).ID() != "" || GroupByID[int](c, "g").Member(7).ID() != "g:7" || GroupByID[int](c, "g").Settled().ID() != "g" {
		t.Error("IDs")
	}
	for _, m := range Mixed(nil, (*Task[int])(nil), &Task[int]{}) {
		if _, r := partOf(m); r == nil {
			t.Errorf("%+v may stand in a gather", m)
		}
	}
	if p, r := partOf(Mixed(TaskByID[int](c, "a"))[0]); r != nil || p.ref == nil || p.ref.ID() != "a" {
		t.Errorf("%+v, %v", p, r)
	}
}
