package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func testOutput(json bool) (o *output, stdout, stderr *bytes.Buffer) {
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	return &output{json: json, stdout: stdout, stderr: stderr, buffer: bufio.NewWriter(stdout)}, stdout, stderr
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain ä 日本":            "plain ä 日本",
		"ends\n":                "ends",
		"two\nlines\tand tab":   `two\nlines\tand tab`,
		"\x1b[2Jgone\x07":       `\u001b[2Jgone\u0007`,
		"a\u202eb\u2028c\u0085": `a\u202eb\u2028c\u0085`,
		"\r\n":                  "",
	} {
		if got := oneLine(in); got != want {
			t.Errorf("oneLine(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestFlatKeepsTheBytes(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"b":1, "a" : [9007199254740993,[],1.0e0], "h":"<&>\u2028"}`: `{"b":1, "a" : [9007199254740993,[],1.0e0], "h":"<&>\u2028"}`,
		"{\n  \"a\": [1.0,\r\n\t\"<x\\n y>\"]\n}":                     `{"a":[1.0,"<x\n y>"]}`,
	} {
		if got := string(flat([]byte(in))); got != want {
			t.Errorf("flat(%q) = %q, want %q", in, got, want)
		}
	}
}

// The words of errors: one line, the kind first and once, the ID in it.
func TestFail(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name         string
		id           string
		err          error
		line, object string
	}{
		{
			"a task's failure", "t:1", &jobs.Error{Kind: jobs.ErrFailed, ID: "t:1", Type: "sim", Attempt: 3, Message: "boom\nat x"},
			`producer: error: t:1 (sim) at attempt 3: boom\nat x`, `{"id":"t:1","error":{"kind":"error","message":"boom\nat x"}}`,
		},
		{
			"an unknown ID", "nope", &jobs.Error{Kind: jobs.ErrUnknown, ID: "nope"},
			"producer: unknown: nope", `{"id":"nope","error":{"kind":"unknown","message":"unknown nope"}}`,
		},
		{
			"an ID that the error does not name", "x", &jobs.Error{Kind: jobs.ErrUnavailable, Message: "refused"},
			"producer: unavailable: x: refused", `{"id":"x","error":{"kind":"unavailable","message":"refused"}}`,
		},
		{
			"refused input", "", &jobs.RejectedError{Kind: jobs.ErrRejected, Field: "queue", Why: `"A": must match`},
			`producer: rejected: queue: "A": must match`, `{"error":{"kind":"rejected","message":"rejected: queue: \"A\": must match"}}`,
		},
		{
			"a conflict", "", &jobs.RejectedError{Kind: jobs.ErrConflict, Field: "id", Why: "is there"},
			"producer: conflict: id: is there", `{"error":{"kind":"conflict","message":"conflict: id: is there"}}`,
		},
		{
			"usage", "", cli.Usagef("--retries: must be less"),
			"producer: rejected: --retries: must be less", `{"error":{"kind":"rejected","message":"--retries: must be less"}}`,
		},
		{
			"interrupted", "", cli.Exit(cli.ExitInterrupted, errors.New("nothing was enqueued")),
			"producer: interrupted: nothing was enqueued", `{"error":{"kind":"interrupted","message":"nothing was enqueued"}}`,
		},
		{
			"another", "", errors.New("disk full"),
			"producer: error: disk full", `{"error":{"kind":"error","message":"disk full"}}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for _, json := range []bool{false, true} {
				o, stdout, stderr := testOutput(json)
				o.fail(tc.id, tc.err)
				if err := o.flush(); err != nil {
					t.Fatal(err)
				}
				if got := strings.TrimSuffix(stderr.String(), "\n"); got != tc.line {
					t.Errorf("stderr\n%s\nwant\n%s", got, tc.line)
				}
				want := ""
				if json {
					want = tc.object + "\n"
				}
				if stdout.String() != want {
					t.Errorf("stdout\n%s\nwant\n%s", stdout, want)
				}
			}
		})
	}
}

// Every kind of error of the public list has its exit code and is called by its name, whichever way it comes.
func TestDecision33_KindsAndCodes(t *testing.T) {
	t.Parallel()
	codes := map[jobs.ErrorKind]int{
		jobs.ErrFailed: 1, jobs.ErrPanicked: 1, jobs.ErrGoexit: 1, jobs.ErrBadArgs: 1, jobs.ErrResultTooLarge: 1, jobs.ErrUnknownType: 1,
		jobs.ErrTimedOut: 1, jobs.ErrDeadline: 1, jobs.ErrCrashLoop: 1, jobs.ErrCancelled: 3, jobs.ErrUnknown: 4, jobs.ErrExpired: 4,
		jobs.ErrLost: 4, jobs.ErrUnavailable: 5, jobs.ErrIndeterminate: 5, "of_a_later_version": 1,
	}
	for kind, code := range codes {
		err := error(&jobs.Error{Kind: kind, ID: "t:1"})
		if got := cli.Code(err); got != code {
			t.Errorf("%s exits %d, want %d", kind, got, code)
		}
		if got := kindOf(fmt.Errorf("behind: %w", err)); got != string(kind) {
			t.Errorf("%s is called %s", kind, got)
		}
	}
	for kind, code := range map[jobs.ErrorKind]int{jobs.ErrRejected: 2, jobs.ErrConflict: 2, jobs.ErrBackpressure: 6} {
		err := error(&jobs.RejectedError{Kind: kind})
		if got := cli.Code(err); got != code || kindOf(err) != string(kind) {
			t.Errorf("%s exits %d, called %s; want %d", kind, got, kindOf(err), code)
		}
	}
	for name, tc := range map[string]struct {
		err  error
		code int
	}{
		"interrupted":   {fmt.Errorf("%w: %w", await.ErrGaveUp, cli.ErrInterrupted), 130},
		"await_timeout": {fmt.Errorf("%w: %w", await.ErrGaveUp, context.DeadlineExceeded), 124},
	} {
		if got := cli.Code(tc.err); got != tc.code || kindOf(tc.err) != name {
			t.Errorf("%v exits %d as %s, want %d as %s", tc.err, got, kindOf(tc.err), tc.code, name)
		}
	}
}

// A line reaches a reader soon, though nobody flushes.
func TestOutputFlushesByItself(t *testing.T) {
	t.Parallel()
	w := make(chan string, 4)
	o := &output{stdout: chanWriter(w), stderr: &bytes.Buffer{}}
	o.buffer = bufio.NewWriter(o.stdout)
	o.line([]byte("a"), []byte("\t"), []byte("b"))
	select {
	case got := <-w:
		if got != "a\tb\n" {
			t.Fatalf("wrote %q", got)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
	}
}

type chanWriter chan string

func (w chanWriter) Write(p []byte) (int, error) {
	w <- string(p)
	return len(p), nil
}

// The first error of stdout is kept and ends the streaming.
func TestOutputKeepsTheError(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left")
	o := &output{stdout: errWriter{full}, stderr: &bytes.Buffer{}}
	o.buffer = bufio.NewWriter(o.stdout)
	o.line([]byte("a"))
	if err := o.flush(); !errors.Is(err, full) {
		t.Fatalf("flush: %v", err)
	}
	o.line([]byte("b"))
	if err := o.failed(); !errors.Is(err, full) {
		t.Fatalf("failed: %v", err)
	}
}

type errWriter struct{ err error }

func (w errWriter) Write([]byte) (int, error) { return 0, w.err }
