package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gatherq/gatherq/internal/cli"
)

func readLines(r io.Reader, limit int) (got []string, err error) {
	in := newLines(r, limit)
	for {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, string(line))
	}
}

func TestLines(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000) // more than the buffer under it
	for _, tc := range []struct {
		name, in string
		limit    int
		want     []string
		err      string
	}{
		{name: "none", limit: 9},
		{name: "one without end", in: "a", limit: 9, want: []string{"a"}},
		{name: "ends and CRLF", in: "a\nb\r\nc\n", limit: 9, want: []string{"a", "b", "c"}},
		{name: "empty lines are lines", in: "\n\r\n\n", limit: 9, want: []string{"", "", ""}},
		{name: "a CR inside stays", in: "a\rb\r\r\n", limit: 9, want: []string{"a\rb\r"}},
		{name: "at the limit", in: "1234\n1234\r\n1234", limit: 4, want: []string{"1234", "1234", "1234"}},
		{name: "over it", in: "1\n12345\n", limit: 4, want: []string{"1"}, err: "line 2: longer than 4 bytes"},
		{name: "over it at the end", in: "1\n\n12345", limit: 4, want: []string{"1", ""}, err: "line 3: longer than 4 bytes"},
		{name: "longer than the buffer", in: long + "\n" + long, limit: len(long), want: []string{long, long}},
		{name: "longer than the buffer and the limit", in: "1\n" + long + "\n", limit: len(long) - 1, want: []string{"1"}, err: "line 2: longer than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			for name, r := range map[string]io.Reader{
				"at once": strings.NewReader(tc.in), "by bytes": iotest.OneByteReader(strings.NewReader(tc.in)),
				"behind a context": untilDone(t.Context(), iotest.HalfReader(strings.NewReader(tc.in))),
			} {
				got, err := readLines(r, tc.limit)
				if !slices.Equal(got, tc.want) {
					t.Errorf("%s: %d lines %.60q, want %.60q", name, len(got), got, tc.want)
				}
				if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%s: error %v, want %q", name, err, tc.err)
				}
			}
		})
	}
}

// A line over the limit is refused when the limit is passed, not when its end comes: it may never come.
func TestLinesRefuseAnEndlessLine(t *testing.T) {
	t.Parallel()
	endless := io.MultiReader(strings.NewReader("1\n"), zeros{})
	got, err := readLines(endless, 1<<20)
	if _, ok := errors.AsType[*lineTooLongError](err); !ok || len(got) != 1 {
		t.Fatalf("%d lines, %v", len(got), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '0'
	}
	return len(p), nil
}

// The lines given out stay as they are when more are read.
func TestLinesAreTheCallers(t *testing.T) {
	t.Parallel()
	in := newLines(strings.NewReader("first\nsecond\n"), 100)
	first, _ := in.next()
	_, _ = in.next()
	if string(first) != "first" {
		t.Fatalf("became %q", first)
	}
}

// A reader that waits for someone to type ends with the context, with its cause.
func TestUntilDoneHearsTheContext(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	t.Cleanup(func() { _ = w.Close() })
	ctx, cancel := context.WithCancelCause(t.Context())
	read := make(chan error, 1)
	in := newLines(untilDone(ctx, r), 100)
	go func() {
		_, err := in.next()
		read <- err
	}()
	cancel(cli.ErrInterrupted)
	if err := <-read; !errors.Is(err, cli.ErrInterrupted) {
		t.Fatalf("the read ended with %v", err)
	}
	if _, err := in.next(); !errors.Is(err, cli.ErrInterrupted) {
		t.Fatalf("the read after it ended with %v", err)
	}
}

// A source's own error is not the end of the text.
func TestLinesReportTheSource(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for _, r := range []io.Reader{
		io.MultiReader(strings.NewReader("1\n2"), iotest.ErrReader(broken)),
		untilDone(t.Context(), io.MultiReader(strings.NewReader("1\n2"), iotest.ErrReader(broken))),
	} {
		got, err := readLines(r, 100)
		if !errors.Is(err, broken) || len(got) != 1 {
			t.Fatalf("lines %q, error %v", got, err)
		}
	}
}

// FuzzLines: lines are what splitting at LF gives, whatever the pieces in which the text comes.
func FuzzLines(f *testing.F) {
	f.Add([]byte("a\nb\r\n\nc"), uint8(3))
	f.Add([]byte("\r\r\n\r"), uint8(1))
	f.Fuzz(func(t *testing.T, text []byte, limit uint8) {
		var want []string
		tooLong := false
		if len(text) > 0 {
			for _, line := range bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n")) {
				want = append(want, string(line))
			}
			for i := range want {
				if i < len(want)-1 || bytes.HasSuffix(text, []byte("\n")) {
					want[i] = strings.TrimSuffix(want[i], "\r")
				}
				if len(want[i]) > int(limit) {
					want, tooLong = want[:i], true
					break
				}
			}
		}
		got, err := readLines(iotest.OneByteReader(bytes.NewReader(text)), int(limit))
		if tooLong != (err != nil) || !slices.Equal(got, want) {
			t.Fatalf("%q, %d: got %q, %v, want %q, too long %v", text, limit, got, err, want, tooLong)
		}
		atOnce, errAtOnce := readLines(bytes.NewReader(text), int(limit))
		if !slices.Equal(got, atOnce) || (err == nil) != (errAtOnce == nil) {
			t.Fatalf("%q: byte by byte %q, %v, at once %q, %v", text, got, err, atOnce, errAtOnce)
		}
	})
}
