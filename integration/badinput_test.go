package integration

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatherq/gatherq/integration/redistest"
)

// Bad input is refused with exit code 2 and the name of what is wrong, before anything is stored.
func TestBadInputLeavesNoKey(t *testing.T) {
	t.Parallel()
	for name, start := range map[string]func(testing.TB) *redistest.Server{"embedded": redistest.Embedded, "any": redistest.Any} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			badInput(t, start(t))
		})
	}
}

func badInput(t *testing.T, s *redistest.Server) {
	rdb := s.Client(t)
	// The number of keys, sampled all the time.
	var most, samples atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var sampling sync.WaitGroup
	sampling.Go(func() {
		for ctx.Err() == nil {
			n, err := rdb.DBSize(ctx).Result()
			if err == nil {
				samples.Add(1)
				most.Store(max(most.Load(), n))
			}
		}
	})
	defer sampling.Wait()
	defer cancel()

	for _, tt := range []struct {
		name, stdin string
		args        []string
		says        string
	}{
		{name: "queue", args: []string{"create", "echo", "1", "--queue", "a}:t:x"}, says: "queue"},
		{name: "queue of a gather", stdin: "1", args: []string{"gather", "echo", "-", "--queue", "a}:t:x"}, says: "queue"},
		{name: "ID with line ends", args: []string{"create", "echo", "1", "--id", "a\r\nSET x y"}, says: "id"},
		{name: "ID with a colon", args: []string{"create", "echo", "1", "--id", "g:1"}, says: "id"},
		{name: "long ID", args: []string{"create", "echo", "1", "--id", strings.Repeat("a", 129)}, says: "128"},
		{name: "ID of a gather", stdin: "1", args: []string{"gather", "echo", "-", "--id", "a b"}, says: "id"},
		{name: "2 MiB of arguments", stdin: `"` + strings.Repeat("x", 2<<20) + `"`, args: []string{"create", "echo", "-"}, says: "args"},
		{name: "a byte too much", stdin: `"` + strings.Repeat("x", 256<<10-1) + `"`, args: []string{"create", "echo", "-"}, says: "262144"},
		{name: "2 MiB in a line", stdin: "1\n" + `"` + strings.Repeat("x", 2<<20) + `"`, args: []string{"gather", "echo", "-"}, says: "line 2"},
		{name: "depth", args: []string{"create", "echo", strings.Repeat("[", 2000)}, says: "1000"},
		{name: "closed depth", args: []string{"create", "echo", strings.Repeat("[", 1001) + strings.Repeat("]", 1001)}, says: "1000"},
		{name: "depth in a line", stdin: strings.Repeat("[", 2000), args: []string{"gather", "echo", "-"}, says: "line 1"},
		{name: "malformed", args: []string{"create", "echo", `{"a":}`}, says: "JSON"},
		{name: "two values", args: []string{"create", "echo", `1 2`}, says: "JSON"},
		{name: "not UTF-8", args: []string{"create", "echo", "\"\xff\""}, says: "UTF-8"},
		{name: "malformed line", stdin: "1\n2\n{\n4\n", args: []string{"gather", "echo", "-"}, says: "line 3"},
		{name: "type", args: []string{"create", "Echo!", "1"}, says: "type"},
		{name: "no type", args: []string{"create"}, says: "TYPE"},
		{name: "unknown flag", args: []string{"create", "echo", "1", "--colour", "red"}, says: "colour"},
		{name: "unknown command", args: []string{"crate", "echo", "1"}, says: "crate"},
		{name: "namespace", args: []string{"create", "echo", "1", "--namespace", "a:b"}, says: "amespace"},
		{name: "negative retries", args: []string{"create", "echo", "1", "--retries", "-1"}, says: "etries"},
		{name: "many retries", args: []string{"create", "echo", "1", "--retries", "1001"}, says: "1000"},
		{name: "negative time-out", args: []string{"create", "echo", "1", "--timeout", "-1s"}, says: "imeout"},
		{name: "negative delay", args: []string{"create", "echo", "1", "--in", "-1s"}, says: "in"},
		{name: "negative backoff", args: []string{"create", "echo", "1", "--backoff", "-1s"}, says: "ackoff"},
		{name: "negative retention", args: []string{"create", "echo", "1", "--retention", "-1s"}, says: "etention"},
		{name: "short retention", args: []string{"create", "echo", "1", "--retention", "999ms"}, says: "etention"},
		{name: "long time-out", args: []string{"create", "echo", "1", "--timeout", "25h"}, says: "imeout"},
		{name: "no duration", args: []string{"create", "echo", "1", "--timeout", "soon"}, says: "timeout"},
		{name: "no time", args: []string{"create", "echo", "1", "--at", "tomorrow"}, says: "at"},
		{name: "policy", args: []string{"create", "echo", "1", "--on-conflict", "maybe"}, says: "on-conflict"},
		{name: "await of nothing", args: []string{"await"}, says: "ID"},
		{name: "await of no ID", args: []string{"await", "a b"}, says: "id"},
		{name: "cancel of no ID", args: []string{"cancel", "{x}"}, says: "id"},
		{name: "status of no ID", args: []string{"status", "\n"}, says: "id"},
		{name: "no file", args: []string{"gather", "echo", "/does/not/exist"}, says: "exist"},
		{name: "no Redis URL", args: []string{"create", "echo", "1", "--redis", "http://x"}, says: "redis"},
	} {
		p := start(t, s, "producer", tt.stdin, tt.args...)
		if code := p.wait(t, patience); code != 2 {
			t.Errorf("%s: exit %d, want 2", tt.name, code)
		}
		if said := p.stderr.String(); !strings.Contains(strings.ToLower(said), strings.ToLower(tt.says)) || len(said) > 4000 {
			t.Errorf("%s: %.600s, want a word of %q", tt.name, said, tt.says)
		}
		if p.stdout.String() != "" {
			t.Errorf("%s: on stdout %.300q", tt.name, p.stdout.String())
		}
	}
	cancel()
	sampling.Wait()
	if most.Load() != 0 || samples.Load() == 0 {
		t.Errorf("%d keys were there at one of %d samples: %q", most.Load(), samples.Load(), allKeys(t, rdb))
	}

	// What was staged before the bad line is gone when the program ends.
	long := strings.Repeat("1\n", 20_000) + "oops\n"
	p := start(t, s, "producer", long, "gather", "echo", "-")
	if code := p.wait(t, patience); code != 2 || !strings.Contains(p.stderr.String(), "line 20001") {
		t.Errorf("a bad line after many: exit %d, %s", code, p.stderr.String())
	}
	if keys := allKeys(t, rdb); len(keys) > 0 {
		t.Errorf("a bad line after many left %q", keys)
	}
}

func TestConflictingCreationIsRefused(t *testing.T) {
	t.Parallel()
	s := redistest.Any(t)
	rdb := s.Client(t)
	if got := produce(t, s, 0, "create", "echo", `{"a":1}`, "--id", "mine"); got != "mine" {
		t.Errorf("create printed %q", got)
	}
	before := size(t, rdb)
	if got := produce(t, s, 0, "create", "echo", `{"a":1}`, "--id", "mine", "--retries", "3"); got != "mine" {
		t.Errorf("the same again printed %q", got)
	}
	for name, args := range map[string][]string{
		"other arguments": {"create", "echo", `{"a":2}`, "--id", "mine"},
		"another type":    {"create", "sleep", `{"a":1}`, "--id", "mine"},
		"--on-conflict":   {"create", "echo", `{"a":1}`, "--id", "mine", "--on-conflict", "error"},
		"a group":         {"gather", "echo", "-", "--id", "mine"},
	} {
		p := start(t, s, "producer", "1\n", args...)
		if code := p.wait(t, patience); code != 2 || !strings.Contains(p.stderr.String(), "conflict") {
			t.Errorf("%s: exit %d, %s", name, code, p.stderr.String())
		}
	}
	if after := size(t, rdb); after > before {
		t.Errorf("conflicts left keys: %d, then %d: %q", before, after, allKeys(t, rdb))
	}
	worker(t, s)
	if got := produce(t, s, 0, "await", "mine"); got != `{"a":1}` {
		t.Errorf("await printed %q", got)
	}
}
