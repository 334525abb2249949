package names

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/gatherq/gatherq/internal/keys"
)

var (
	nameRule = regexp.MustCompile(`\A[a-z0-9][a-z0-9._-]{0,63}\z`)
	userRule = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\z`)
	rootRule = regexp.MustCompile(`\A(?:[A-Za-z0-9][A-Za-z0-9._-]{0,127}|[tg]:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|c:[0-9a-f]{20,72})\z`)
	anyRule  = regexp.MustCompile(strings.TrimSuffix(rootRule.String(), `\z`) + `(?::(?:0|[1-9][0-9]{0,6}))?\z`)
)

const aUUID = "0190163d-8694-739b-aea5-966c26f8ad91"

func hostile() []string {
	return []string{
		"", "a", "A", "0", "a}:t:x", "a\r\nDEL x", "a b", "a:b", "ü", "-a", ".a", "_a", "a-", "a.b_c-d",
		strings.Repeat("a", 64), strings.Repeat("a", 65), strings.Repeat("a", 128), strings.Repeat("a", 129), strings.Repeat("[", 2000),
		"t:" + aUUID, "g:" + aUUID, "g:" + aUUID + ":0", "g:" + aUUID + ":00", "g:" + aUUID + ":9999999", "g:" + aUUID + ":10000000",
		"t:" + strings.ToUpper(aUUID), "x:" + aUUID, "t:" + aUUID + "0", "t:", "t:5", "g:5", "c:5", ":5", "a:5:5", "a:5", "a:-1", "a:+1", "a:", "a:05",
		"c:" + strings.Repeat("0", 20), "c:" + strings.Repeat("f", 72), "c:" + strings.Repeat("f", 73), "c:" + strings.Repeat("f", 19),
		"c:" + strings.Repeat("f", 36) + ":7", "a\x00", "{a}",
	}
}

// TestDecision44_Names holds the hand-written checks against the rules as regular expressions.
func TestDecision44_Names(t *testing.T) {
	for _, s := range hostile() {
		check(t, s)
	}
}

func check(t *testing.T, s string) {
	t.Helper()
	for _, c := range []struct {
		field string
		err   error
		rule  *regexp.Regexp
	}{
		{"type", Type(s), nameRule},
		{"queue", Queue(s), nameRule},
		{"namespace", Namespace(s), nameRule},
		{"id", UserID(s), userRule},
		{"id", AnyID(s), anyRule},
		{"id", GroupID(s), rootRule},
	} {
		if want := c.rule.MatchString(s); (c.err == nil) != want {
			t.Errorf("%s %q: error %v, the rule says %v", c.field, s, c.err, want)
		}
		if c.err == nil {
			continue
		}
		e, ok := errors.AsType[*Error](c.err)
		if !ok || e.Field != c.field {
			t.Errorf("%s %q: error %v does not name its field", c.field, s, c.err)
		}
		if strings.ContainsAny(c.err.Error(), "\r\n\x00") || len(c.err.Error()) > 400 {
			t.Errorf("%s %q: the error is not one short line: %q", c.field, s, c.err)
		}
	}
}

func TestErrorsNameTheLimit(t *testing.T) {
	for want, err := range map[string]error{
		"64":      Type(strings.Repeat("a", 65)),
		"128":     UserID(strings.Repeat("a", 129)),
		"9999999": AnyID("a:10000000"),
		"9999998": nil,
	} {
		if err == nil {
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %s", err, want)
		}
	}
	for i, ok := range map[int]bool{-1: false, 0: true, MaxMembers - 1: true, MaxMembers: false} {
		if err := Index(i); (err == nil) != ok {
			t.Errorf("Index(%d) = %v", i, err)
		}
	}
}

func FuzzNames(f *testing.F) {
	for _, s := range hostile() {
		f.Add(s)
	}
	f.Fuzz(check)
}

// FuzzMember: a member's ID that passes is taken apart by keys into the group that it was made of.
func FuzzMember(f *testing.F) {
	f.Add("a", 0)
	f.Add("g:"+aUUID, 9_999_999)
	f.Add("c:"+strings.Repeat("1", 36), 12)
	f.Fuzz(func(t *testing.T, group string, index int) {
		if GroupID(group) != nil || Index(index) != nil {
			return
		}
		if g, _, ok := keys.SplitMember(group); ok {
			t.Fatalf("the group %q reads as a member of %q", group, g)
		}
		id := keys.Member(group, index)
		if err := AnyID(id); err != nil {
			t.Fatalf("%q: %v", id, err)
		}
		g, i, ok := keys.SplitMember(id)
		if !ok || g != group || i != index {
			t.Fatalf("%s: split into %q, %d, %v", fmt.Sprint(group, index), g, i, ok)
		}
	})
}
