package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCheckJSON(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ name, in, want string }{
		{"object", `{"b":1,"a":[9007199254740993,[],1.0]}`, ""},
		{"spaces around", " \t[1, 2]\r\n", ""},
		{"scalar", `"\ud83d\ude00 \u0000"`, ""},
		{"empty", "", "empty"},
		{"white space", " \t ", "empty"},
		{"bare word", "nope", "byte 2: invalid character 'o'"},
		{"cut off", `{"a":`, "byte 5: unexpected end"},
		{"two values", `1 2`, "byte 3: invalid character '2'"},
		{"NaN", `[NaN]`, "byte 2: invalid character 'N'"},
		{"single quotes", `{'a':1}`, "byte 2"},
		{"trailing comma", `[1,]`, "byte 4"},
		{"leading zero", `01`, "byte 2"},
		{"several lines", "{\n  \"a\": 1,\n  b: 2\n}", "line 3, byte 3: invalid character 'b'"},
		{"raw control character", "\"a\x01b\"", "byte 3"},
		{"byte order mark", "\ufeff1", "byte 1"},
		{"not UTF-8", "[\"\xff\"]", "byte 3: not UTF-8"},
		{"cut rune", "\"\xe2\x82\"", "byte 2: not UTF-8"},
		{"at the depth", strings.Repeat("[", maxDepth) + strings.Repeat("]", maxDepth), ""},
		{"too deep", strings.Repeat("[", maxDepth+1) + strings.Repeat("]", maxDepth+1), "byte 1001: nested deeper than 1000"},
		{"too deep, mixed", strings.Repeat(`{"a":[`, 1000), "nested deeper than 1000"},
		{"much too deep, not closed", strings.Repeat("[", 2_000), "nested deeper than 1000"},
		{"brackets in a string are no depth", `"` + strings.Repeat("[", 2*maxDepth) + `\"["`, ""},
		{"wide is not deep", "[" + strings.Repeat("[],", 2*maxDepth) + "1]", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			err := checkJSON([]byte(tc.in))
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.want != "" && err == nil:
				t.Errorf("accepted, want an error with %q", tc.want)
			case err != nil && !strings.Contains(err.Error(), tc.want):
				t.Errorf("error %q, want one with %q", err, tc.want)
			}
		})
	}
}

// FuzzCheckJSON: what is accepted is JSON and UTF-8; what is refused is not, or is deep. Neither panics.
func FuzzCheckJSON(f *testing.F) {
	for _, seed := range []string{"", "1", `{"a":[1,2,{"b":null}]}`, "[[[", "\"\\u00e4\\\"[\"", "\xff", "\n\n}", strings.Repeat("[", 1001)} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := checkJSON(b)
		good := json.Valid(b) && utf8.Valid(b)
		if err == nil && !good {
			t.Fatalf("accepted %q", b)
		}
		if err != nil && good && tooDeep(b) == 0 {
			t.Fatalf("refused %q: %v", b, err)
		}
		if err != nil && strings.ContainsAny(err.Error(), "\r\n") {
			t.Fatalf("an error of several lines: %q", err)
		}
	})
}
