package main

import (
	"strings"
	"testing"
)

func TestDifferencesAreThoseOfJSONValues(t *testing.T) {
	for _, tt := range []struct {
		name, want, got string
		lines           int
		says            string
	}{
		{name: "same", want: `{"a":[1,"x",null,true]}`, got: `{"a":[1,"x",null,true]}`},
		{name: "order of keys", want: `{"a":1,"b":2}`, got: `{"b":2,"a":1}`},
		{name: "spelling of a number", want: `[1,1e-07,100]`, got: `[1.0,0.0000001,1E2]`},
		{name: "spelling of a string", want: `"\u00e9\u003c"`, got: `"é<"`},
		{name: "neighbour of a large integer", want: `9007199254740993`, got: `9007199254740992`, lines: 1, says: "9007199254740992"},
		{name: "number and string", want: `1`, got: `"1"`, lines: 1},
		{name: "number and bool", want: `1`, got: `true`, lines: 1},
		{name: "null and missing", want: `{"a":null}`, got: `{}`, lines: 1, says: "seen nothing"},
		{name: "additional", want: `{}`, got: `{"a":null}`, lines: 1, says: "expected nothing"},
		{name: "empty list and object", want: `[]`, got: `{}`, lines: 1},
		{name: "order of a list", want: `[1,2]`, got: `[2,1]`, lines: 2, says: "[0]: expected 1, seen 2"},
		{name: "length of a list", want: `[1,2]`, got: `[1]`, lines: 1},
		{name: "object and string", want: `"a"`, got: `{"a":1}`, lines: 1},
		{name: "deep", want: `{"log":[{"items":[{"value":1}]}]}`, got: `{"log":[{"items":[{"value":2}]}]}`, lines: 1, says: ".log[0].items[0].value"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lines, err := differences([]byte(tt.want), []byte(tt.got))
			if err != nil {
				t.Fatal(err)
			}
			if len(lines) != tt.lines || !strings.Contains(strings.Join(lines, "\n"), tt.says) {
				t.Errorf("got %q, want %d lines with %q", lines, tt.lines, tt.says)
			}
		})
	}
	if _, err := differences([]byte(`{`), []byte(`{}`)); err == nil {
		t.Error("half an object was compared")
	}
}
