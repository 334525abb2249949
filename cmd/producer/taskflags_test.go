package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
)

func TestParseMoment(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		in    string
		after time.Duration
		at    string
		err   string
	}{
		{in: "0s"},
		{in: "0"},
		{in: "137ms", after: 137 * time.Millisecond},
		{in: "1h30m", after: 90 * time.Minute},
		{in: "-1s", err: "must not be negative"},
		{in: "2026-01-31T12:00:00Z", at: "2026-01-31T12:00:00Z"},
		{in: "2026-01-31T12:00:00.25+02:00", at: "2026-01-31T10:00:00.25Z"},
		{in: "0001-01-01T00:00:00Z", err: "year 1"},
		{in: "2026-01-31", err: "must be a duration like"},
		{in: "12", err: "must be a duration like"},
		{in: "tomorrow", err: "must be a duration like"},
		{in: "", err: "must be a duration like"},
		{in: "9999999h", err: "must be a duration like"},
	} {
		after, at, err := parseMoment(tc.in)
		if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("parseMoment(%q): error %v, want %q", tc.in, err, tc.err)
		}
		want := time.Time{}
		if tc.at != "" {
			want, _ = time.Parse(time.RFC3339, tc.at)
		}
		if after != tc.after || !at.Equal(want) {
			t.Errorf("parseMoment(%q) = %v, %v, want %v, %v", tc.in, after, at, tc.after, want)
		}
	}
}

// Only a deadline that is a duration asks Redis for its time; what was not given is no option.
func TestOptionsAskForTheTimeOnce(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		args    string
		asked   int
		options int
		err     string
	}{
		{"", 0, 0, ""},
		{"--retries 0 --queue low --id x", 0, 3, ""},
		{"--backoff 10m --timeout 1s --grace 0s --retention 1h --max-pending 1m", 0, 5, ""},
		{"--max-crashes 5", 0, 1, ""},
		{"--on-conflict return", 0, 0, ""},
		{"--on-conflict rerun --in 1s", 0, 2, ""},
		{"--on-conflict maybe", 0, 0, "--on-conflict"},
		{"--at 2030-01-01T00:00:00Z --deadline 2030-01-02T00:00:00Z", 0, 2, ""},
		{"--deadline 1h", 1, 1, ""},
		{"--deadline -1h", 0, 0, "--deadline"},
		{"--in soon", 0, 0, "--in"},
		{"--at -3s", 0, 0, "--at"},
	} {
		var task taskFlags
		cmd := &cobra.Command{}
		task.register(cmd, "task")
		if err := cmd.ParseFlags(strings.Fields(tc.args)); err != nil {
			t.Fatal(err)
		}
		asked := 0
		opts, err := task.options(t.Context(), func(context.Context) (time.Time, error) {
			asked++
			return time.Now(), nil
		})
		if asked != tc.asked || len(opts) != tc.options {
			t.Errorf("%s: asked for the time %d times, %d options; want %d, %d", tc.args, asked, len(opts), tc.asked, tc.options)
		}
		if (err == nil) != (tc.err == "") || err != nil && (!strings.Contains(err.Error(), tc.err) || cli.Code(err) != cli.ExitUsage) {
			t.Errorf("%s: error %v, want one of usage with %q", tc.args, err, tc.err)
		}
	}
}

func TestReadArgs(t *testing.T) {
	t.Parallel()
	read := func(stdin io.Reader, args ...string) (string, error) {
		raw, err := readArgs(t.Context(), stdin, args, 100)
		return string(raw), err
	}
	if got, err := read(strings.NewReader("7")); got != "null" || err != nil {
		t.Errorf("without arguments: %q, %v", got, err)
	}
	if got, err := read(strings.NewReader("7"), `{"b": 1}`); got != `{"b": 1}` || err != nil {
		t.Errorf("as an argument: %q, %v", got, err)
	}
	if got, err := read(strings.NewReader("{\n \"b\": 1}\n"), "-"); got != "{\n \"b\": 1}\n" || err != nil {
		t.Errorf("from stdin: %q, %v", got, err)
	}
	for name, tc := range map[string]struct{ arg, stdin, want string }{
		"malformed":          {arg: `{"b":`, want: "byte 5"},
		"malformed on stdin": {arg: "-", stdin: "{\n\"b\" 1}", want: "line 2, byte 5"},
		"nothing on stdin":   {arg: "-", want: "empty"},
		"too long":           {arg: `"` + strings.Repeat("x", 99) + `"`, want: "longer than 100 bytes"},
		"too long on stdin":  {arg: "-", stdin: `"` + strings.Repeat("x", 99) + `"`, want: "longer than 100 bytes"},
	} {
		_, err := read(strings.NewReader(tc.stdin), tc.arg)
		if err == nil || !strings.Contains(err.Error(), tc.want) || cli.Code(err) != cli.ExitUsage {
			t.Errorf("%s: %v, want an error of usage with %q", name, err, tc.want)
		}
	}
	if _, err := readArgs(t.Context(), zeros{}, []string{"-"}, 1<<20); cli.Code(err) != cli.ExitUsage {
		t.Errorf("endless stdin: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cli.ErrInterrupted)
	r, w := io.Pipe()
	defer func() { _ = w.Close() }()
	if _, err := readArgs(ctx, r, []string{"-"}, 100); !errors.Is(err, cli.ErrInterrupted) {
		t.Errorf("interrupted: %v", err)
	}
}
