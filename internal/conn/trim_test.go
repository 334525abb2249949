package conn

import (
	"strings"
	"testing"
)

func TestTrim(t *testing.T) {
	src := strings.Join([]string{
		"-- a comment", "local A, B = 1, 2", "local C = 3",
		"local function used(x) return x .. B end",
		"local function through(x)", "  -- why", "  if x then", "    return used(x)", "  end", "end",
		"local function unused(x)", "  return C", "end",
		"local T = {", "  one = 1,", "}",
		"local late", "local function asks() if late then late() end end",
		"late = function()", "  return T", "end",
		"local function field(x) return x end",
		"local function joined() return '' end",
		"if KEYS[1] then", "  through(1)", "else", "  redis.field(2)", "end",
		"return '' ..joined()", "",
	}, "\n")
	got := trim(src)
	for want, is := range map[string]bool{
		"local A, B": true, "local C": false, "comment": false, "why": false, "function used": true, "function through": true, "function unused": false,
		"local T": false, "local late": false, "late = function": false, "function field": false, "function joined": true, "else": true,
	} {
		if strings.Contains(got, want) != is {
			t.Errorf("%q is there: %v, want %v", want, !is, is)
		}
	}
	if again := trim(got); again != got {
		t.Errorf("trimmed again it is\n%s", again)
	}
	got = trim(strings.Replace(src, "through(1)", "asks()", 1))
	for _, want := range []string{"local T = {\n  one = 1,\n}\n", "local late\n", "late = function()\n  return T\nend\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not there", want)
		}
	}
}

// A function made by Within brings all that it needs, and keeps nothing alive around it.
func TestWithin(t *testing.T) {
	parts := []string{"local function inner() return 1 end", "local function outer() return inner() end"}
	text := strings.Join(parts, "\n") + "\n" + Within("seldom", "outer = outer", parts...)
	got := trim(text + "if ARGV[1] then return seldom().outer() end\n")
	if strings.HasPrefix(got, "local function inner") || strings.Count(got, "function inner()") != 1 || strings.Count(got, "\n\tlocal function outer()") != 1 {
		t.Errorf("trimmed to\n%s", got)
	}
	if got := trim(text + "return 1\n"); got != "return 1\n" {
		t.Errorf("of what nobody calls is left\n%s", got)
	}
}
