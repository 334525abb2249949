package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// flushAfter is how long a line may stay in the buffer: short for whoever reads along, long against the time of a system call.
const flushAfter = 50 * time.Millisecond

// output writes results to stdout and everything else to stderr. It is safe for concurrent use.
type output struct {
	json   bool
	stdout io.Writer
	stderr io.Writer

	bar atomic.Pointer[progress] // that is being drawn on stderr

	mu      sync.Mutex
	buffer  *bufio.Writer // over stdout
	pending bool          // a flush is on its way
	err     error         // the first of stdout
}

func (a *app) output(cmd *cobra.Command) *output {
	o := &output{json: a.json, stdout: cmd.OutOrStdout(), stderr: cmd.ErrOrStderr()}
	o.buffer = bufio.NewWriterSize(o.stdout, 64<<10)
	return o
}

// line writes one line to stdout, at the latest flushAfter from now. The parts must hold no line end.
func (o *output) line(parts ...[]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, part := range append(parts, []byte{'\n'}) {
		if _, err := o.buffer.Write(part); err != nil && o.err == nil {
			o.err = fmt.Errorf("writing to stdout: %w", err)
		}
	}
	if !o.pending {
		o.pending = true
		time.AfterFunc(flushAfter, func() { _ = o.flush() })
	}
}

// flush writes out what is buffered and returns the first error of stdout since the beginning.
func (o *output) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = false
	if err := o.buffer.Flush(); err != nil && o.err == nil {
		o.err = fmt.Errorf("writing to stdout: %w", err)
	}
	return o.err
}

// failed returns the first error of stdout so far: who streams stops there.
func (o *output) failed() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// say writes one line to stderr, behind what was written to stdout before.
func (o *output) say(format string, args ...any) {
	_ = o.flush()
	line := []byte(oneLine(fmt.Sprintf(format, args...)) + "\n")
	if bar := o.bar.Load(); bar != nil {
		if _, err := bar.container.Write(line); err == nil {
			return
		}
	}
	_, _ = o.stderr.Write(line)
}

// object writes v as a line of JSON to stdout.
func (o *output) object(v any) {
	line, err := encode(v)
	if err != nil {
		o.say("producer: %v", err)
		return
	}
	o.line(line)
}

// encode returns v as JSON without line ends.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// fault is error.kind and its message, in JSON.
type fault struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// fail writes err, which concerns the task or group id where that is not empty, as one line to stderr, and with --json as an object to
// stdout, too.
func (o *output) fail(id string, err error) {
	f := faultOf(err)
	if o.json {
		o.object(struct {
			ID    string `json:"id,omitempty"`
			Error fault  `json:"error"`
		}{id, f})
	}
	o.explain(id, err)
}

// explain writes err as one line to stderr: its kind, the ID, and the rest.
func (o *output) explain(id string, err error) {
	kind := kindOf(err)
	text := textOf(err)
	if rest, ok := strings.CutPrefix(text, kind); ok && (rest == "" || strings.ContainsAny(rest[:1], ": ")) {
		text = strings.TrimLeft(rest, ": ")
	}
	if id != "" && !strings.Contains(text, id) {
		text = strings.TrimSuffix(id+": "+text, ": ")
	}
	o.say("producer: %s", strings.TrimSuffix(kind+": "+text, ": "))
}

// faultOf returns the kind and the message of err.
func faultOf(err error) fault {
	f := fault{Kind: kindOf(err), Message: textOf(err)}
	if e, ok := errors.AsType[*jobs.Error](err); ok && e.Message != "" {
		f.Message = e.Message
	}
	return f
}

// textOf returns all that err says.
func textOf(err error) string { return strings.TrimPrefix(err.Error(), "gatherq: ") }

// kindOf returns error.kind. What has none of jobs' is named after its exit code.
func kindOf(err error) string {
	if e, ok := errors.AsType[*jobs.RejectedError](err); ok {
		return string(e.Kind)
	}
	if e, ok := errors.AsType[*jobs.Error](err); ok && !errors.Is(err, await.ErrGaveUp) {
		return string(e.Kind)
	}
	switch cli.Code(err) {
	case cli.ExitUsage:
		return string(jobs.ErrRejected)
	case cli.ExitInterrupted:
		return "interrupted"
	case cli.ExitTimeout:
		return "await_timeout"
	case cli.ExitUnavailable:
		return string(jobs.ErrUnavailable)
	}
	return string(jobs.ErrFailed)
}

// valueLine returns the JSON of v as one line: its very bytes, but where it holds line ends, which only stand between tokens: then without
// the white space there.
func valueLine(v jobs.Value) ([]byte, error) {
	raw, err := v.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return flat(raw), nil
}

// flat returns b, JSON, without line ends.
func flat(b []byte) []byte {
	if !bytes.ContainsAny(b, "\n\r") {
		return b
	}
	var c bytes.Buffer
	if err := json.Compact(&c, b); err != nil {
		return bytes.Join(bytes.FieldsFunc(b, func(r rune) bool { return r == '\n' || r == '\r' }), []byte{' '})
	}
	return c.Bytes()
}

// oneLine makes a message of anybody's fit for a line of a terminal: control characters are shown as escapes, so that a handler's error can
// neither break the line nor move the cursor.
func oneLine(s string) string {
	s = strings.TrimRight(s, "\r\n")
	if !strings.ContainsFunc(s, unprintable) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unprintable(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// unprintable also holds the marks that turn the direction of text.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// isTerminal reports whether w is a terminal.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
