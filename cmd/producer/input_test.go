package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gatherq/gatherq/internal/cli"
)

// Bad input is exit code 2 and names its field or line; at no moment is a key of it in Redis, and no member has started.
func TestBadInput(t *testing.T) {
	t.Parallel()
	big := `"` + strings.Repeat("x", 2<<20) + `"`
	deep := strings.Repeat("[", 2_000)
	many := strings.Repeat("{\"a\":1}\n", 5_000) // enough to be staged before the bad line comes
	for _, tc := range []struct {
		name  string
		stdin string
		args  []string
		want  string // on stderr
	}{
		{"no command's flag", "", []string{"create", "echo", "1", "--nope"}, "--nope"},
		{"no command", "", []string{"crate", "echo"}, "crate"},
		{"no type", "", []string{"create"}, "arg"},
		{"too many arguments", "", []string{"create", "echo", "1", "2"}, "arg"},
		{"no ID", "", []string{"await"}, "arg"},
		{"two IDs of status", "", []string{"status", "a", "b"}, "arg"},
		{"malformed arguments", "", []string{"create", "echo", `{"a":}`}, "byte 6"},
		{"malformed on stdin", "{\n\"a\":}", []string{"create", "echo", "-"}, "line 2, byte 5"},
		{"nothing on stdin", "", []string{"create", "echo", "-"}, "empty"},
		{"two values", "", []string{"create", "echo", "1 2"}, "byte 3"},
		{"2 MiB of arguments", big, []string{"create", "echo", "-"}, "262144"},
		{"2 MiB in a line", "1\n" + big, []string{"gather", "echo"}, "line 2: longer than 262144"},
		{"arguments over a limit of one's own", "", []string{"create", "echo", "12345", "--max-args", "4"}, "--max-args"},
		{"a line over it", "1\n2\n12345\n", []string{"gather", "echo", "--max-args", "4"}, "line 3"},
		{"too deep", "", []string{"create", "echo", deep}, "nested deeper than 1000"},
		{"too deep in a line", "1\n" + deep, []string{"gather", "echo"}, "line 2"},
		{"malformed line", "1\n{\n2\n", []string{"gather", "echo"}, "line 2"},
		{"empty line", "1\n\n2\n", []string{"gather", "echo"}, "line 2"},
		{"malformed last line", many + "nope", []string{"gather", "echo", "--await"}, "line 5001"},
		{"too long last line", many + big, []string{"gather", "echo"}, "line 5001"},
		{"no such file", "", []string{"gather", "echo", "/no/such/file"}, "/no/such/file"},
		{"a directory", "", []string{"gather", "echo", os.TempDir()}, "directory"},
		{"type", "", []string{"create", "Echo", "1"}, "type"},
		{"type of a gather", "1", []string{"gather", "a}:t:x"}, "type"},
		{"empty type", "", []string{"create", "", "1"}, "type"},
		{"long type", "", []string{"create", strings.Repeat("x", 65), "1"}, "type"},
		{"queue", "", []string{"create", "echo", "1", "--queue", "a}:t:x"}, "queue"},
		{"queue of a gather", "1", []string{"gather", "echo", "--queue", "{x}"}, "queue"},
		{"ID with line ends", "", []string{"create", "echo", "1", "--id", "a\r\nDEL x"}, "id"},
		{"ID of ours", "", []string{"create", "echo", "1", "--id", "t:1"}, "id"},
		{"empty ID", "", []string{"create", "echo", "1", "--id", ""}, "id"},
		{"long ID of a group", "1", []string{"gather", "echo", "--id", strings.Repeat("x", 129)}, "id"},
		{"namespace", "", []string{"create", "echo", "1", "--namespace", "a:b"}, "amespace"},
		{"retries", "", []string{"create", "echo", "1", "--retries", "-1"}, "retries"},
		{"too many retries", "", []string{"create", "echo", "1", "--retries", "1001"}, "1000"},
		{"few crashes", "", []string{"create", "echo", "1", "--max-crashes", "2"}, "at least 3"},
		{"many crashes", "", []string{"gather", "echo", "--max-crashes", "1001"}, "at most 1000"},
		{"retries that are no number", "", []string{"create", "echo", "1", "--retries", "two"}, "retries"},
		{"backoff", "", []string{"create", "echo", "1", "--backoff", "-1s"}, "backoff"},
		{"short backoff", "", []string{"create", "echo", "1", "--backoff", "0s"}, "backoff"},
		{"long backoff", "", []string{"create", "echo", "1", "--backoff", "25h"}, "backoff"},
		{"timeout", "", []string{"create", "echo", "1", "--timeout", "-5s"}, "timeout"},
		{"no timeout", "", []string{"create", "echo", "1", "--timeout", "0s"}, "timeout"},
		{"grace", "", []string{"create", "echo", "1", "--grace", "11m"}, "grace"},
		{"retention", "", []string{"create", "echo", "1", "--retention", "-1h"}, "retention"},
		{"short retention", "", []string{"create", "echo", "1", "--retention", "999ms"}, "retention"},
		{"long retention", "1", []string{"gather", "echo", "--retention", "721h"}, "retention"},
		{"max-pending", "", []string{"create", "echo", "1", "--max-pending", "-1s"}, "pending"},
		{"delay", "", []string{"create", "echo", "1", "--in", "-1s"}, "--in"},
		{"delay that is none", "", []string{"create", "echo", "1", "--in", "soon"}, "--in"},
		{"time", "", []string{"create", "echo", "1", "--at", "2026-13-01T00:00:00Z"}, "--at"},
		{"both", "", []string{"create", "echo", "1", "--at", "1s", "--in", "1s"}, "in"},
		{"deadline", "", []string{"create", "echo", "1", "--deadline", "-1m"}, "--deadline"},
		{"conflict policy", "", []string{"create", "echo", "1", "--on-conflict", "replace"}, "--on-conflict"},
		{"max-args", "", []string{"create", "echo", "1", "--max-args", "1048577"}, "--max-args"},
		{"max-result", "", []string{"create", "echo", "1", "--max-result", "0"}, "--max-result"},
		{"await-timeout", "", []string{"await", "x", "--await-timeout", "-1s"}, "--await-timeout"},
		{"await-timeout without await", "", []string{"create", "echo", "1", "--await-timeout", "1s"}, "--await"},
		{"as-completed without await", "1", []string{"gather", "echo", "--as-completed"}, "--await"},
		{"log level", "", []string{"create", "echo", "1", "--log-level", "loud"}, "--log-level"},
		{"reason", "", []string{"cancel", "g:1", "--reason", strings.Repeat("x", 1001)}, "reason"},
		{"ID to await", "", []string{"await", "a b"}, "id"},
		{"ID to cancel", "", []string{"cancel", "g:x:y:z"}, "id"},
		{"ID to look at", "", []string{"status", strings.Repeat("x", 200)}, "id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			r := f.want(2, f.feed(tc.stdin, tc.args...))
			if r.stdout != "" {
				t.Errorf("stdout %q", r.stdout)
			}
			if !strings.HasPrefix(r.stderr, "producer: ") || !strings.Contains(strings.ToLower(r.stderr), strings.ToLower(tc.want)) {
				t.Errorf("stderr %q lacks %q", r.stderr, tc.want)
			}
			for _, key := range f.keys() {
				if !strings.HasSuffix(key, ":meta") {
					t.Errorf("left %q in Redis", key)
				}
			}
		})
	}
}

// While a gather with a bad last line is read, nothing but its staging shows, and a worker that stands by runs none of it.
func TestDecision16_BadLastLineStartsNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(8)
	r, w := io.Pipe()
	var done sync.WaitGroup
	done.Go(func() {
		for range 3_000 {
			if _, err := io.WriteString(w, `{"steps":[{"incr":"started"}]}`+"\n"); err != nil {
				return
			}
		}
		_, _ = io.WriteString(w, "oops\n")
		_ = w.Close()
	})
	ended := f.want(2, f.runWith(t.Context(), r, demoParts{}, "gather", "sim", "--id", "never"))
	done.Wait()
	if !strings.Contains(ended.stderr, "line 3001: malformed JSON: byte 1") {
		t.Errorf("stderr %q", ended.stderr)
	}
	f.want(4, f.run("status", "never"))
	if n, err := f.rdb.Exists(t.Context(), "sim:started").Result(); err != nil || n != 0 {
		t.Errorf("a member has started: %d, %v", n, err)
	}
	until(t, "the staging to go", func() bool {
		return !slices.ContainsFunc(f.keys(), func(key string) bool {
			return strings.Contains(key, "never") || strings.HasPrefix(key, "asynq:{gatherq:") // a ticket of it
		})
	})
}

func TestUsageInJSON(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	r := f.want(2, f.run("create", "echo", "{", "--json"))
	if want := `{"error":{"kind":"rejected","message":"args: malformed JSON: byte 1: unexpected end of JSON input"}}` + "\n"; r.stdout != want {
		t.Errorf("stdout %q, want %q", r.stdout, want)
	}
}

// An in-process Redis that nobody can reach would make the commands hang.
func TestEmbeddedIsForTheDemo(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.url = "embedded"
	for _, args := range [][]string{{"create", "echo", "1"}, {"await", "x"}, {"status", "x"}, {"cancel", "x"}} {
		if r := f.want(2, f.run(args...)); !strings.Contains(r.stderr, "embedded") {
			t.Errorf("%q: %q", args, r.stderr)
		}
	}
}

func TestEnvironment(t *testing.T) {
	f := newFleet(t)
	f.work(2)
	t.Setenv("GATHERQ_AWAIT", "true")
	t.Setenv("GATHERQ_AWAIT_TIMEOUT", "1m")
	t.Setenv("GATHERQ_RETRIES", "2")
	if r := f.want(0, f.run("create", "echo", "5")); r.stdout != "5\n" {
		t.Errorf("stdout %q", r.stdout)
	}
	t.Setenv("GATHERQ_RETRIES", "many")
	if r := f.want(2, f.run("create", "echo", "5")); !strings.Contains(r.stderr, "GATHERQ_RETRIES") {
		t.Errorf("stderr %q", r.stderr)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 60 {
		name := filepath.Join(dir, fmt.Sprintf("d%d", i%5), fmt.Sprintf("f%d", i))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(strings.Repeat("line\n", i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := newFleet(t)
	inProcess := *f
	inProcess.url = "embedded"
	f.fileRoot = dir
	f.work(4)
	change := func() {
		if err := os.WriteFile(filepath.Join(dir, "d3", "f3"), []byte("changed\n"), 0o600); err != nil {
			t.Error(err)
		}
	}
	for name, f := range map[string]*fleet{"embedded": &inProcess, "real workers": f} {
		r := f.want(0, f.run("demo", dir))
		if !strings.Contains(r.stdout, "60 files, 8.6 KiB, 1770 lines") || !strings.Contains(r.stdout, "agrees") || !strings.Contains(r.stdout, "d4/f59") {
			t.Errorf("%s:\n%s", name, r.stdout)
		}
		if strings.Contains(r.stdout, "\x1b") || strings.Contains(r.stderr, "\x1b") {
			t.Errorf("%s: drew on what is no terminal", name)
		}
	}
	r := f.want(1, f.runWith(t.Context(), nil, demoParts{gathered: change}, "demo", dir))
	if !strings.Contains(r.stderr, "disagreement about d3/f3: the task found 15 bytes, 3 lines") || !strings.Contains(r.stdout, "DISAGREES about 1") {
		t.Errorf("stdout %q\nstderr %q", r.stdout, r.stderr)
	}
	f.want(2, f.run("demo", filepath.Join(dir, "nowhere")))
	f.want(2, f.run("demo", filepath.Join(dir, "d3", "f3")))
	if r := f.want(0, f.run("demo", dir, "--json")); len(r.lines()) != 61 {
		t.Errorf("%d lines", len(r.lines()))
	}
}

// Every command explains itself, with examples, and completes.
func TestHelp(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	for _, name := range []string{"create", "gather", "await", "status", "cancel", "demo"} {
		r := f.want(0, f.run(name, "--help"))
		for _, want := range []string{"Usage:", "Examples:", "producer " + name, "--json", "--namespace"} {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("%s --help lacks %q", name, want)
			}
		}
	}
	for want, args := range map[string][]string{
		"producer ":              {"--version"},
		"return\nerror\nrerun\n": {"__complete", "create", "echo", "--on-conflict", "re"},
	} {
		var stdout strings.Builder
		root := newRoot()
		root.SetArgs(args)
		root.SetOut(&stdout)
		root.SetErr(io.Discard)
		if code := cli.Execute(t.Context(), root); code != 0 || !strings.HasPrefix(stdout.String(), want) {
			t.Errorf("%q: exit code %d, %q", args, code, stdout.String())
		}
	}
	if r := f.want(0, f.run("completion", "bash")); !strings.Contains(r.stdout, "__start_producer") {
		t.Error("no completion for bash")
	}
}
