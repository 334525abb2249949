package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/gatherq/gatherq/integration/redistest"
)

// The Redis of the compose file passes the start-up check without a warning.
func TestDecision20_TheComposeFilesRedisPasses(t *testing.T) {
	t.Parallel()
	conf, err := os.ReadFile("../deploy/redis.conf")
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for line := range strings.Lines(string(conf)) {
		f := strings.Fields(line)
		if len(f) < 2 || strings.HasPrefix(f[0], "#") || f[0] == "bind" || f[0] == "protected-mode" { // where it listens is the test's to say
			continue
		}
		args = append(args, "--"+f[0])
		for _, v := range f[1:] {
			args = append(args, strings.Trim(v, `"`))
		}
	}
	s := redistest.Local(t, args...)
	w := worker(t, s)
	if out := w.stderr.String(); strings.Contains(out, "level=WARN") {
		t.Errorf("the worker warns:\n%s", out)
	}
	if got := produce(t, s, 0, "create", "echo", `1`, "--await"); got != "1" {
		t.Errorf("%s", got)
	}
}

// A Redis that evicts keys is refused by both programs, with the exit code of a bad input, unless a flag allows it.
func TestDecision20_AnEvictingRedisIsRefused(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t, "--maxmemory-policy", "allkeys-lru")
	for _, args := range [][]string{{"create", "echo", `1`}, {"gather", "echo", "-"}} {
		p := start(t, s, "producer", "1\n", args...)
		if code := p.wait(t, patience); code != 2 || !strings.Contains(p.stderr.String(), "--allow-eviction") || p.stdout.String() != "" {
			t.Errorf("%v: exit %d, %s", args, code, p.stderr.String())
		}
	}
	w := start(t, s, "worker", "", "--admin", "off")
	if code := w.wait(t, patience); code != 2 || !strings.Contains(w.stderr.String(), "--allow-eviction") {
		t.Errorf("worker: exit %d, %s", code, w.stderr.String())
	}
	if n := s.Client(t).DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys were written", n)
	}
	worker(t, s, "--allow-eviction")
	if got := produce(t, s, 0, "create", "echo", `1`, "--await", "--allow-eviction"); got != "1" {
		t.Errorf("%s", got)
	}
}
