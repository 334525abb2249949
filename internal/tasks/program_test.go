package tasks

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestProgramRefuses(t *testing.T) {
	for args, why := range map[string]string{
		`null`:                          "must be an object",
		`[]`:                            "must be an object",
		`{}`:                            `"steps" is missing`,
		`{"steps":null}`:                `"steps" is missing`,
		`{"step":[]}`:                   "unknown field",
		`{"steps":[],"oncancel":{}}`:    "unknown field",
		`{"steps":[1]}`:                 "step 1: must be an object",
		`{"steps":[null]}`:              "step 1: must be an object",
		`{"steps":[{}]}`:                "step 1: is empty",
		`{"steps":[{"nap_ms":1}]}`:      `unknown field "nap_ms"`,
		`{"steps":[{"sleep_ms":-1}]}`:   "0 to 86400000",
		`{"steps":[{"sleep_ms":1.5}]}`:  "integer",
		`{"steps":[{"sleep_ms":"1"}]}`:  "integer",
		`{"steps":[{"sleep_ms":null}]}`: "integer",
		`{"steps":[{"SLEEP_MS":1}]}`:    `unknown field "SLEEP_MS"`,
		`{"steps":[{"sleep_ms":1},{"sleep_ms":1,"x":1}]}`:  `step 2: unknown field "x"`,
		`{"steps":[{"sleep_ms":1,"return":1}]}`:            "unknown field",
		`{"steps":[{"gauge":"k"}]}`:                        `"busy_ms" is missing`,
		`{"steps":[{"gauge":"","busy_ms":1}]}`:             "gauge must be",
		`{"steps":[{"incr":"a\nb"}]}`:                      "incr must be",
		`{"steps":[{"incr":7}]}`:                           "incr must be a string",
		`{"steps":[{"raise":null}]}`:                       "raise must be a string",
		`{"steps":[{"raise":"m","retry":0}]}`:              "retry must be",
		`{"steps":[{"retry":true}]}`:                       `unknown field "retry"`,
		`{"steps":[{"exit":256}]}`:                         "0 to 255",
		`{"steps":[{"bytes":16777217}]}`:                   "16777216",
		`{"steps":[{"return":1},{"call":{"type":"x"}}]}`:   "step 2: call is not available yet",
		`{"steps":[{"gather":[],"return_errors":true}]}`:   "gather is not available yet",
		`{"steps":[{"create":{}}]}`:                        "create is not available yet",
		`{"steps":[{"progress":1}]}`:                       "progress is not available yet",
		`{"steps":[],"on_cancel":7}`:                       "on_cancel: must be an object",
		`{"steps":[],"on_cancel":{"sleep_ms":-1}}`:         "on_cancel: sleep_ms",
		`{"steps":[],"on_cancel":{"return":1,"raise":""}}`: "both",
		`{"steps":[],"on_cancel":{"x":1}}`:                 `on_cancel: unknown field "x"`,
	} {
		var p program
		if err := json.Unmarshal([]byte(args), &p); err == nil && args != "null" {
			t.Errorf("%s is accepted", args)
		} else if err == nil {
			// encoding/json may pass null by; the method itself refuses it.
			if err := p.UnmarshalJSON([]byte(args)); err == nil {
				t.Errorf("%s is accepted", args)
			}
		} else if !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", args, err, why)
		}
	}
}

// FuzzProgram checks that a program that decodes is within its bounds, that its values are kept byte for byte, and that no
// input panics.
func FuzzProgram(f *testing.F) {
	f.Add([]byte(`{"steps":[{"sleep_ms":1},{"gauge":"k","busy_ms":2},{"raise":"m","retry":false}],"on_cancel":{"sleep_ms":1,"return":7}}`))
	f.Add([]byte(`{"steps":[{"incr":"k"},{"fail_until_attempt":3},{"bytes":9},{"return":{"a" : 1.0e+2}}],"on_cancel":{"raise":""}}`))
	f.Add([]byte(`{"steps":[{"call":{}}]}`))
	f.Add([]byte(`{"steps":[{"exit":1},{"panic":"p"},{"ignore_cancel_ms":1}],"on_cancel":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var p program
		if err := json.Unmarshal(data, &p); err != nil {
			return
		}
		for _, s := range p.steps {
			if s.n < 0 || s.n > maxPause && s.op != opFailUntil {
				t.Fatalf("%s of %d", s.op, s.n)
			}
			if (s.op == opGauge || s.op == opIncr) && (s.text == "" || len(s.text) > maxKey || strings.ContainsAny(s.text, "\r\n\x00")) {
				t.Fatalf("key %q", s.text)
			}
			if s.op == opReturn && (!json.Valid(s.literal) || !strings.Contains(string(data), string(s.literal))) {
				t.Fatalf("value %q is not in %q", s.literal, data)
			}
		}
		if c := p.onCancel; c != nil && c.value != nil && c.raise != nil {
			t.Fatal("both return and raise")
		}
	})
}

// Texts of a program are those that encoding/json reads.
func TestTextsOfAProgram(t *testing.T) {
	for _, in := range []string{`""`, `"plain"`, `"a\u00e9\ud83d\ude00b"`, `"\ud800x"`, `"\ud800\ud800"`, `"\"\\\/\b\f\n\r\t"`, "\"\xff\xfe\"", "\"\xc3(\""} {
		var want string
		if err := json.Unmarshal([]byte(in), &want); err != nil {
			t.Fatal(err)
		}
		var p program
		if err := json.Unmarshal([]byte(`{"steps":[{"panic":`+in+`}]}`), &p); err != nil {
			t.Fatal(err)
		}
		if got := p.steps[0].text; got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}
