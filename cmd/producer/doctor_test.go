package main

import (
	"strings"
	"testing"
)

// The exit code is for monitoring: 0 healthy, 1 findings, 2 usage, 5 no Redis; the lines are for people, or for programs.
func TestDoctor(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	if r := f.want(0, f.run("doctor")); !strings.HasPrefix(r.stdout, "namespace gatherq: 0 findings in ") {
		t.Errorf("of nothing: %q", r.stdout)
	}
	f.work(2)
	f.want(0, f.run("create", "echo", "1", "--await"))
	f.want(0, f.run("create", "echo", "1", "--in", "1h"))
	if r := f.want(0, f.run("doctor", "--json", "--again", "1s")); !strings.Contains(r.stdout, `"healthy":true,"findings":0,"keys":`) || !strings.Contains(r.stdout, `"open":1`) {
		t.Errorf("of a healthy namespace: %q", r.stdout)
	}
	f.rdb.Set(t.Context(), "gq:{gatherq:0}:odd:x", "1", 0)
	r := f.want(1, f.run("doctor", "--again", "1ms"))
	if lines := r.lines(); len(lines) != 2 || lines[0] != "key_unknown\tgq:{gatherq:0}:odd:x\tthis version has no such key" || !strings.HasPrefix(lines[1], "namespace gatherq: 1 findings") || r.stderr != "" {
		t.Errorf("one finding: %q, stderr %q", r.stdout, r.stderr)
	}
	r = f.want(1, f.run("doctor", "--again", "1ms", "--json"))
	if !strings.HasPrefix(r.stdout, `{"kind":"key_unknown","subject":"gq:{gatherq:0}:odd:x","detail":"this version has no such key"}`+"\n"+`{"namespace":"gatherq","healthy":false,"findings":1,`) {
		t.Errorf("one finding: %q", r.stdout)
	}
	f.want(0, f.run("doctor", "--namespace", "other"))
	f.want(2, f.run("doctor", "--again", "-1s"))
	f.want(2, f.run("doctor", "--namespace", "a:b"))
	f.want(2, f.run("doctor", "more"))
}
