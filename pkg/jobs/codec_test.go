package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"reflect"
	"strings"
	"testing"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// What is given as JSON is stored byte for byte.
func TestDecision10_JSONStaysAsItIs(t *testing.T) {
	for _, text := range []string{
		`{"b":1,"a":[9007199254740993,[],1.0]}`, ` { "x" : 1e400 } `, `"<&>"`, `"\u003c\u2028 "`, "null", "0.10", "\t[1 ,2]\r\n", nested(maxDepth),
		`{"a":1,"a":2}`, `"]]]]\"[["`,
	} {
		var asValue Value
		if err := asValue.UnmarshalJSON([]byte(text)); err != nil {
			t.Fatal(err)
		}
		raw := json.RawMessage(text)
		for _, v := range []any{raw, &raw, asValue, &asValue} {
			got, err := encodeJSON(v)
			if err != nil || string(got) != text {
				t.Errorf("%T: %q became %q, %v", v, text, got, err)
			}
		}
		var back json.RawMessage
		if err := decodeJSON([]byte(text), &back); err != nil || string(back) != text {
			t.Errorf("decoded %q to %q, %v", text, back, err)
		}
	}
}

func TestEncodeArgs(t *testing.T) {
	var nilRaw *json.RawMessage
	for _, test := range []struct {
		v    any
		want string // the error where it begins with !
	}{
		{struct{}{}, `{}`},
		{nil, `null`},
		{json.RawMessage(nil), `null`},
		{nilRaw, `null`},
		{"<a href='&'>", `"<a href='&'>"`},
		{map[string]int{"b": 1, "a": 2}, `{"a":2,"b":1}`},
		{int64(9007199254740993), `9007199254740993`},
		{new(big.Int).Lsh(big.NewInt(1), 100), `1267650600228229401496703205376`},
		{struct {
			R json.RawMessage
		}{json.RawMessage(`"<"`)}, `{"R":"<"}`},
		{json.RawMessage{}, `!not valid JSON`},
		{json.RawMessage(`{"a":}`), `!not valid JSON at byte 6`},
		{json.RawMessage(`1 2`), `!not valid JSON`},
		{json.RawMessage("\"\xff\""), `!not valid JSON: not UTF-8`},
		{json.RawMessage(nested(maxDepth + 1)), `!nested deeper than 1000`},
		{json.RawMessage(nested(2000)[:2000]), `!nested deeper than 1000`},
		{json.RawMessage(strings.Repeat(`{"a":`, maxDepth+1) + "1" + strings.Repeat("}", maxDepth+1)), `!nested deeper than 1000`},
		{deepSlice(maxDepth + 1), `!nested deeper than 1000`},
		{make(chan int), `!json: unsupported type`},
		{func() {}, `!json: unsupported type`},
		{strings.Repeat("x", 98), `"` + strings.Repeat("x", 98) + `"`},
		{strings.Repeat("x", 99), `!101 bytes, at most 100`},
	} {
		limit := 100
		got, r := encodeArgs(test.v, limit)
		if why, bad := strings.CutPrefix(test.want, "!"); bad {
			if r == nil || r.Field != "args" || !strings.Contains(r.Why, why) {
				t.Errorf("%T: %v, want %s", test.v, r, why)
			}
			continue
		}
		if r != nil || string(got) != test.want {
			t.Errorf("%T: %s, %v, want %s", test.v, got, r, test.want)
		}
	}
}

func deepSlice(depth int) any {
	var v any = []any{}
	for range depth - 1 {
		v = []any{v}
	}
	return v
}

// The bytes that were encoded are ours: a caller that changes its own later changes nothing.
func TestEncodeCopies(t *testing.T) {
	raw := json.RawMessage(`[1]`)
	got, err := encodeJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	raw[1] = '2'
	if string(got) != `[1]` {
		t.Error("the encoding shares the caller's bytes")
	}
}

func TestDecodeJSON(t *testing.T) {
	var n int
	if err := decodeJSON([]byte(`7`), &n); err != nil || n != 7 {
		t.Error(n, err)
	}
	if err := decodeJSON([]byte(`"x"`), &n); err == nil {
		t.Error("a string fits an int")
	}
	var raw json.RawMessage
	var v Value
	for _, bad := range []string{``, `{`, nested(maxDepth + 1)} {
		if decodeJSON([]byte(bad), &raw) == nil || decodeJSON([]byte(bad), &v) == nil {
			t.Errorf("%.10q decodes", bad)
		}
	}
}

func TestDecision44_DigestIsOfTypeAndArgs(t *testing.T) {
	a := digest("sum", []byte(`[1]`))
	if len(a) != 16 || !bytes.Equal(a, digest("sum", []byte(`[1]`))) {
		t.Error("not 16 bytes, or not the same twice")
	}
	for _, b := range [][]byte{digest("sum", []byte(`[2]`)), digest("su", []byte(`m[1]`)), digest("sum[", []byte(`1]`))} {
		if bytes.Equal(a, b) {
			t.Error("another type or other arguments have the same digest")
		}
	}
}

// The scanner against a decoder that counts: it must agree on everything that is JSON, and never panic on what is not.
func FuzzJSONDepth(f *testing.F) {
	for _, seed := range []string{`[]`, `{"a":[1,"]",{"\"[":[]}]}`, `"\\"`, `"\\\"["`, nested(50), "[[", `"\`, nested(maxDepth), nested(maxDepth + 1)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		err := checkDepth(data)
		depth, ok := depthByDecoder(data)
		if ok && (err != nil) != (depth > maxDepth) {
			t.Errorf("depth %d: %v", depth, err)
		}
		if got, err := encodeJSON(json.RawMessage(data)); data != nil && err == nil && !bytes.Equal(got, data) {
			t.Errorf("%q became %q", data, got)
		}
	})
}

func depthByDecoder(data []byte) (deepest int, ok bool) {
	if !json.Valid(data) {
		return 0, false
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	for depth := 0; ; {
		tok, err := dec.Token()
		if err != nil {
			return deepest, errors.Is(err, io.EOF)
		}
		switch tok {
		case json.Delim('['), json.Delim('{'):
			depth++
			deepest = max(deepest, depth)
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
	}
}

// Every Go value comes back as it went, whatever strings it holds.
func FuzzJSONRoundTrip(f *testing.F) {
	f.Add("a<b>&", int64(9007199254740993), 1.5, []byte{0, 255})
	f.Fuzz(func(t *testing.T, s string, n int64, x float64, b []byte) {
		type box struct {
			S string
			N int64
			X float64
			B []byte
		}
		in := box{strings.ToValidUTF8(s, "?"), n, x, b}
		data, err := encodeJSON(in)
		if err != nil {
			return // NaN and infinities have no JSON
		}
		var out box
		if err := decodeJSON(data, &out); err != nil {
			t.Fatal(err)
		}
		if len(in.B) == 0 {
			in.B, out.B = nil, nil
		}
		if !reflect.DeepEqual(in, out) {
			t.Errorf("%+v became %+v", in, out)
		}
	})
}
