//go:build unix

package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// script writes an executable shell script and returns its path. No child is born meanwhile: one that still holds the file open for
// writing (until its exec) would keep the script from being run (ETXTBSY).
func script(t *testing.T, body string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "script")
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestExec(t *testing.T) {
	show := script(t, `for a in "$@"; do printf '[%s]' "$a"; done`)
	tests := []struct {
		name      string
		template  string
		free      bool
		args      string // JSON of ExecArgs
		want      ExecResult
		fail      string
		permanent bool
	}{
		{name: "places", template: "x=" + show + " -a {in} --o={out}", args: `{"name":"x","args":{"in":"$(id) ; 'q","out":5}}`, want: ExecResult{Stdout: "[-a][$(id) ; 'q][--o=5]"}},
		{name: "boolean", template: "x=" + show + " {b}", args: `{"name":"x","args":{"b":true}}`, want: ExecResult{Stdout: "[true]"}},
		{name: "big number stays as it is", template: "x=" + show + " {n}", args: `{"name":"x","args":{"n":12345678901234567890}}`, want: ExecResult{Stdout: "[12345678901234567890]"}},
		{name: "stdin", template: "x=/bin/cat", args: `{"name":"x","stdin":"in\nput"}`, want: ExecResult{Stdout: "in\nput"}},
		{name: "exit code is a result", template: "x=" + script(t, "echo no >&2; exit 3"), args: `{"name":"x"}`, want: ExecResult{ExitCode: 3, Stderr: "no\n"}},
		{name: "signal", template: "x=" + script(t, "kill -9 $$"), args: `{"name":"x"}`, want: ExecResult{ExitCode: -1, Signal: "killed"}},
		{name: "no environment", template: "x=" + script(t, "exec /usr/bin/env -0 | /usr/bin/tr '\\0' '\\n' | /bin/grep -c GATHERQ_TEST"), args: `{"name":"x"}`, want: ExecResult{ExitCode: 1, Stdout: "0\n"}},
		{name: "free arguments", template: "x=" + show + " -a", free: true, args: `{"name":"x","args":["b c","-d"]}`, want: ExecResult{Stdout: "[-a][b c][-d]"}},
		{name: "free arguments are not allowed", template: "x=" + show, args: `{"name":"x","args":["b"]}`, fail: "--allow-exec-args", permanent: true},
		{name: "free arguments must be strings", template: "x=" + show, free: true, args: `{"name":"x","args":[1]}`, fail: "strings", permanent: true},
		{name: "free arguments without the places", template: "x=" + show + " {in}", free: true, args: `{"name":"x","args":["b"]}`, fail: `no "in"`, permanent: true},
		{name: "missing place", template: "x=" + show + " {in}", args: `{"name":"x"}`, fail: `no "in"`, permanent: true},
		{name: "unknown place", template: "x=" + show, args: `{"name":"x","args":{"in":"v"}}`, fail: `"in"`, permanent: true},
		{name: "option in a place", template: "x=" + show + " {in}", args: `{"name":"x","args":{"in":"--evil"}}`, fail: "option", permanent: true},
		{name: "object in a place", template: "x=" + show + " {in}", args: `{"name":"x","args":{"in":{}}}`, fail: "must be a string", permanent: true},
		{name: "args of another kind", template: "x=" + show, args: `{"name":"x","args":7}`, fail: "must be an object", permanent: true},
		{name: "unknown template", template: "x=" + show, args: `{"name":"y"}`, fail: `no template of this worker (it has x)`, permanent: true},
		{name: "not UTF-8", template: "x=" + script(t, `printf '\377\376'`), args: `{"name":"x"}`, want: ExecResult{StdoutBase64: []byte{0xff, 0xfe}}},
	}
	t.Setenv("GATHERQ_TEST", "inherited")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := newRunner([]string{tt.template}, tt.free)
			if err != nil {
				t.Fatal(err)
			}
			var args ExecArgs
			if err := json.Unmarshal([]byte(tt.args), &args); err != nil {
				t.Fatal(err)
			}
			got, err := r.handle(context.Background(), args)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) || isPermanent(err) != tt.permanent {
					t.Fatalf("error %v, want %q", err, tt.fail)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			have, _ := json.Marshal(got)
			want, _ := json.Marshal(tt.want)
			if string(have) != string(want) {
				t.Errorf("got %s\nwant %s", have, want)
			}
		})
	}
}

func TestExecCapsItsOutput(t *testing.T) {
	r, err := newRunner([]string{"x=" + script(t, "/usr/bin/head -c 65535 /dev/zero | /usr/bin/tr '\\0' a; printf 'é%070000d' 1; /usr/bin/head -c 300000 /dev/zero >&2")}, false)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.handle(context.Background(), ExecArgs{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	// The cut goes through a character, which is dropped.
	if len(got.Stdout) != 65535 || !got.StdoutTruncated {
		t.Errorf("stdout: %d bytes, truncated %v", len(got.Stdout), got.StdoutTruncated)
	}
	if len(got.StderrBase64) != maxOutput || !got.StderrTruncated {
		t.Errorf("stderr: %d bytes, truncated %v", len(got.StderrBase64), got.StderrTruncated)
	}
	if b, _ := json.Marshal(got); len(b) > 256<<10 {
		t.Errorf("%d bytes are more than a result may have", len(b))
	}
}

func TestExecWorstOutputFitsAResult(t *testing.T) {
	r, err := newRunner([]string{`x=` + script(t, `/usr/bin/head -c 65536 /dev/zero | /usr/bin/tr '\0' '<' | /usr/bin/tee /dev/stderr`)}, false)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.handle(context.Background(), ExecArgs{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := json.Marshal(got); len(b) > 256<<10 {
		t.Errorf("%d bytes are more than a result may have", len(b))
	}
}

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return !errors.Is(err, os.ErrNotExist)
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z")
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestExecEndsItsGroup: with the task end the program and its children, also one that ignores SIGTERM.
func TestExecEndsItsGroup(t *testing.T) {
	for name, trap := range map[string]string{"obeys": "", "ignores SIGTERM": "trap '' TERM; "} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pids := filepath.Join(t.TempDir(), "pids")
			r, err := newRunner([]string{"x=" + script(t, trap+"/bin/sleep 600 & echo $! $$ > "+pids+".new; /bin/mv "+pids+".new "+pids+"; wait; /bin/sleep 600")}, false)
			if err != nil {
				t.Fatal(err)
			}
			r.grace = 300 * time.Millisecond
			why := errors.New("why")
			ctx, cancel := context.WithCancelCause(context.Background())
			done := make(chan error, 1)
			go func() {
				_, err := r.handle(ctx, ExecArgs{Name: "x"})
				done <- err
			}()
			var child, leader int
			eventually(t, "the program runs", func() bool {
				select {
				case err := <-done:
					t.Fatalf("ended before it was cancelled: %v", err)
				default:
				}
				b, err := os.ReadFile(pids)
				if err != nil {
					return false
				}
				f := strings.Fields(string(b))
				child, _ = strconv.Atoi(f[0])
				leader, _ = strconv.Atoi(f[1])
				return true
			})
			cancel(why)
			if err := <-done; !errors.Is(err, why) {
				t.Errorf("error %v", err)
			}
			eventually(t, "leader and child are gone", func() bool { return !alive(child) && !alive(leader) })
		})
	}
}

// TestExecLeavesNothingBehind: a program that ends leaves no child, and one that keeps the pipes open does not hold the task.
func TestExecLeavesNothingBehind(t *testing.T) {
	r, err := newRunner([]string{"x=" + script(t, "/bin/sleep 600 & echo $!")}, false)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.handle(context.Background(), ExecArgs{Name: "x"})
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(got.Stdout))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is gone", func() bool { return !alive(child) })
}

func TestNewRunnerRefuses(t *testing.T) {
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, templates := range map[string][]string{
		"twice":      {"x=/bin/cat", "x=/bin/cat"},
		"no file":    {"x=" + plain + ".no"},
		"executable": {"x=" + plain},
		"--allow":    {"x"},
	} {
		if _, err := newRunner(templates, false); err == nil || !strings.Contains(err.Error(), "--allow-exec") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
