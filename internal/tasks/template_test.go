package tasks

import (
	"slices"
	"strings"
	"testing"
)

func TestTemplateFill(t *testing.T) {
	tests := []struct {
		template string
		values   map[string]string
		want     []string
		fail     string
	}{
		{template: "a=/bin/x", want: []string{}},
		{template: "a=/bin/x -f {in} --out={out}", values: map[string]string{"in": "i i", "out": "o;rm"}, want: []string{"-f", "i i", "--out=o;rm"}},
		{template: "a=/bin/x {in} {in}{in}", values: map[string]string{"in": "v"}, want: []string{"v", "vv"}},
		{template: `a=/bin/x 'two words' "it's" ''`, want: []string{"two words", "it's", ""}},
		{template: `a="/opt/my tool" {{in}} {{{in}}}`, values: map[string]string{"in": "v"}, want: []string{"{in}", "{v}"}},
		{template: "a=/bin/x {in}", values: map[string]string{"in": ""}, want: []string{""}},
		{template: "a=/bin/x {in}", values: map[string]string{"in": "{out}"}, want: []string{"{out}"}},
		{template: "a=/bin/x {in}", values: map[string]string{"in": "-rf"}, fail: `begins with "-"`},
		{template: "a=/bin/x -- {in}", values: map[string]string{"in": "-rf"}, want: []string{"--", "-rf"}},
		{template: "a=/bin/x n{in}", values: map[string]string{"in": "-rf"}, want: []string{"n-rf"}},
		{template: "a=/bin/x {sep} {in}", values: map[string]string{"sep": "x", "in": "-rf"}, fail: `args "in" begins`},
		{template: "a=/bin/x {in}", fail: `no "in"`},
		{template: "a=/bin/x {in}", values: map[string]string{"in": "v", "out": "v"}, fail: `"out"`},
		{template: "a=/bin/x {in}", values: map[string]string{"in": "a\x00b"}, fail: "NUL"},
	}
	for _, tt := range tests {
		tpl, err := ParseTemplate(tt.template)
		if err != nil {
			t.Errorf("%s: %v", tt.template, err)
			continue
		}
		got, err := tpl.Fill(tt.values)
		if tt.fail != "" {
			if err == nil || !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("%s: error %v, want %q", tt.template, err, tt.fail)
			}
			continue
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v; want %q", tt.template, got, err, tt.want)
		}
	}
}

func TestParseTemplateRefuses(t *testing.T) {
	for s, why := range map[string]string{
		"":                         `no "="`,
		"/bin/x":                   `no "="`,
		"=/bin/x":                  "must match",
		"A=/bin/x":                 "must match",
		"a b=/bin/x":               "must match",
		"a=":                       "absolute",
		"a=x":                      "absolute",
		"a=./x":                    "absolute",
		"a=/bin/{in}":              "may not have places",
		"a=/bin/x {":               "no }",
		"a=/bin/x }":               "no {",
		"a=/bin/x {}":              "must match",
		"a=/bin/x {a b}":           "no }",
		"a=/bin/x '{a b}'":         "must match",
		"a=/bin/x 'x":              "not closed",
		"a=/bin/x \x00":            "NUL",
		"a=/bin/x {in" + "{out}}}": "must match",
	} {
		if _, err := ParseTemplate(s); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("ParseTemplate(%q): %v, want %q", s, err, why)
		}
	}
}

// FuzzTemplate checks that a value never becomes more or less than the text at its places: it adds no argument, and none
// of it is read as a place or a quote.
func FuzzTemplate(f *testing.F) {
	f.Add("a=/bin/x -f {in} '{out}x' {{", "v", "w w")
	f.Add(`b=/bin/"y z" {in}{in}`, "{out}", "-x")
	f.Add("c=/bin/x -- {a}", "--", "")
	f.Fuzz(func(t *testing.T, template, one, two string) {
		tpl, err := ParseTemplate(template)
		if err != nil {
			return
		}
		if !strings.HasPrefix(tpl.Path, "/") || strings.ContainsRune(tpl.Path, 0) {
			t.Fatalf("path %q", tpl.Path)
		}
		values := map[string]string{}
		for i, name := range tpl.Places() {
			values[name] = []string{one, two}[i%2]
		}
		got, err := tpl.Fill(values)
		if err != nil {
			return
		}
		if len(got) != len(tpl.args) {
			t.Fatalf("%d arguments of %d", len(got), len(tpl.args))
		}
		for i, parts := range tpl.args {
			rest := got[i]
			for _, p := range parts {
				piece := p.text
				if p.name != "" {
					piece = values[p.name]
				}
				var ok bool
				if rest, ok = strings.CutPrefix(rest, piece); !ok {
					t.Fatalf("argument %q lacks %q", got[i], piece)
				}
			}
			if rest != "" || strings.ContainsRune(got[i], 0) {
				t.Fatalf("argument %q has more than its parts", got[i])
			}
		}
		values["not_a_place_of_it"] = ""
		if _, err := tpl.Fill(values); err == nil {
			t.Fatal("an unknown value is accepted")
		}
	})
}
