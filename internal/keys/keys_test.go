package keys_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/gatherq/gatherq/internal/keys"
)

var (
	name = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	id   = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]{0,127}|[tg]:[0-9a-f-]{36}|c:[0-9a-f]{4}[0-9a-z]{26})$`)
)

// all are the names of everything that belongs to one ID, one queue and one worker.
func all(s keys.Space, id, queue, nonce string, n int) map[string]string {
	return map[string]string{
		"record": s.Record(id), "tombstone": s.Tombstone(id), "args": s.Args(id, nonce, n), "results": s.Results(id, n), "map": s.Map(id, n), "line": s.Line(id),
		"open": s.Open(0), "outbox": s.Outbox(0), "holdings": s.Holdings(0, nonce), "inbox": s.Inbox(nonce), "due": s.Due(), "meta": s.Meta(),
		"workers": s.Workers(), "worker": s.Worker(nonce), "bell": s.Bell(queue), "parked": s.Parked(queue), "asynq": s.AsynqQueue(queue),
	}
}

// FuzzKeysAreInjective: two things never share a name, in one namespace or in two.
func FuzzKeysAreInjective(f *testing.F) {
	f.Add("a", "b", "gatherq", "gatherq", "default", "default", 0, 1)
	f.Add("a", "a:1", "n", "n", "q", "q", 1, 1)
	f.Add("t:01890a5d-ac96-774b-bcce-b302099a8057", "a", "n", "n-1", "q", "bell", 7, 70)
	f.Fuzz(func(t *testing.T, id1, id2, ns1, ns2, q1, q2 string, n1, n2 int) {
		for _, ns := range []string{ns1, ns2, q1, q2} {
			if !name.MatchString(ns) {
				return
			}
		}
		if !id.MatchString(id1) || !id.MatchString(id2) || n1 < 0 || n2 < 0 {
			return
		}
		const nonce = "01890a5d-ac96-774b-bcce-b302099a8057"
		a, b := all(keys.New(ns1, 1), id1, q1, nonce, n1), all(keys.New(ns2, 1), id2, q2, nonce, n2)
		for ka, va := range a {
			if ka != "asynq" && !strings.HasPrefix(va, "gq:{") {
				t.Fatalf("%s is %q", ka, va)
			}
			for kb, vb := range b {
				same := ka == kb && ns1 == ns2
				switch ka {
				case "record", "tombstone", "line":
					same = same && id1 == id2
				case "results", "map":
					same = same && id1 == id2 && n1 == n2
				case "args": // the nonce is the group's own
					same = same && n1 == n2
				case "bell", "parked", "asynq":
					same = same && q1 == q2
				}
				if (va == vb) != same {
					t.Fatalf("%s %q of (%s %s %s %d) and %s %q of (%s %s %s %d)", ka, va, ns1, id1, q1, n1, kb, vb, ns2, id2, q2, n2)
				}
			}
		}
	})
}

func TestSplitMember(t *testing.T) {
	for _, c := range []struct {
		id, group string
		index     int
		ok        bool
	}{
		{"g:5", "g", 5, true}, {"g:0", "g", 0, true}, {"g:05", "", 0, false}, {"g", "", 0, false}, {"g:", "", 0, false}, {":5", "", 0, false},
		{"g:01890a5d-ac96-774b-bcce-b302099a8057", "", 0, false},
		{"g:01890a5d-ac96-774b-bcce-b302099a8057:17", "g:01890a5d-ac96-774b-bcce-b302099a8057", 17, true},
		{"g:9999999", "g", 9999999, true}, {"g:123456789", "", 0, false}, {"g:-1", "", 0, false}, {"g:1x", "", 0, false},
	} {
		group, index, ok := keys.SplitMember(c.id)
		if group != c.group || index != c.index || ok != c.ok {
			t.Errorf("%q: %q %d %v", c.id, group, index, ok)
		}
		if c.ok && keys.Member(c.group, c.index) != c.id {
			t.Errorf("Member(%q, %d) is not %q", c.group, c.index, c.id)
		}
	}
}

func TestDecision07_MembersLieInTheirGroupsShard(t *testing.T) {
	s := keys.New("n", 64)
	used := map[int]bool{}
	for _, g := range []string{"a", "b", "c", "g:01890a5d-ac96-774b-bcce-b302099a8057", "d", "e", "f"} {
		used[s.Shard(g)] = true
		if s.Shard(g) != s.Shard(keys.Member(g, 17)) {
			t.Errorf("%s and its member lie in different shards", g)
		}
	}
	if len(used) < 3 {
		t.Errorf("seven IDs in %d shards", len(used))
	}
	if s.Shard("c:00ffabc") != 0xff%64 {
		t.Error("a child's shard is what its ID says")
	}
}
