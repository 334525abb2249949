package history

import (
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Recorder appends the events of one process to a file. It is safe for concurrent use. What cannot be written is a panic: a history
// with a hole would be judged as if nothing had happened there.
type Recorder struct {
	file *os.File
	ops  atomic.Int64
}

// Open appends to a file, which need not be there.
func Open(path string) (*Recorder, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &Recorder{file: f}, nil
}

// Close closes the file; no operation may follow.
func (r *Recorder) Close() error { return r.file.Close() }

// Op is an operation under way.
type Op struct {
	r    *Recorder
	head Event
}

// Begin writes the first event of an operation; it is written when Begin returns.
func (r *Recorder) Begin(e Event) *Op {
	e.Phase, e.Op = Invoke, int(r.ops.Add(1))
	r.write(&e)
	return &Op{r: r, head: Event{Op: e.Op, Kind: e.Kind, ID: e.ID}}
}

// End writes the second event, of which phase and what it brought are the caller's.
func (o *Op) End(phase Phase, e Event) {
	e.Op, e.Kind, e.ID, e.Phase = o.head.Op, o.head.Kind, o.head.ID, phase
	o.r.write(&e)
}

// Note writes an operation that has no duration.
func (r *Recorder) Note(e Event) { r.Begin(e).End(OK, e) }

func (r *Recorder) write(e *Event) {
	e.At, e.Proc = Now(), os.Getpid()
	b, err := json.Marshal(e)
	if err != nil {
		panic(fmt.Errorf("history: %w", err))
	}
	if _, err := r.file.Write(append(b, '\n')); err != nil { // O_APPEND: whole, behind all others
		panic(fmt.Errorf("history: %w", err))
	}
}

// Now is CLOCK_MONOTONIC in nanoseconds.
func Now() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(fmt.Errorf("history: %w", err))
	}
	return ts.Nano()
}
