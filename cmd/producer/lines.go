package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
)

// lines reads a text line by line in bounded memory.
type lines struct {
	r     *bufio.Reader
	limit int // bytes of a line, its end not counted
	n     int // number of the line read last, from 1
}

// newLines returns lines over r of at most limit bytes each.
func newLines(r io.Reader, limit int) *lines {
	return &lines{r: bufio.NewReaderSize(r, 64<<10), limit: limit}
}

// lineTooLongError is a line over the limit; nothing of it is kept.
type lineTooLongError struct{ line, limit int }

func (e *lineTooLongError) Error() string {
	return fmt.Sprintf("line %d: longer than %d bytes, the limit of one call's arguments (--max-args)", e.line, e.limit)
}

// next returns the next line without its end (LF or CRLF), or io.EOF after the last. The bytes are the caller's to keep. A text that does
// not end with LF has a last line all the same; one that does has none behind it.
func (l *lines) next() ([]byte, error) {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if len(line) == 0 && len(part) > 0 {
			l.n++
		}
		line = append(line, part...)
		switch {
		case err == nil:
			line = line[:len(line)-1]
			if n := len(line); n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			}
		case errors.Is(err, bufio.ErrBufferFull):
			if len(line) > l.limit+2 { // an end of two bytes may be in it
				return nil, &lineTooLongError{line: l.n, limit: l.limit}
			}
			continue
		case errors.Is(err, io.EOF):
			if len(line) == 0 {
				return nil, io.EOF
			}
		default:
			return nil, fmt.Errorf("reading after line %d: %w", l.n, err)
		}
		if len(line) > l.limit {
			return nil, &lineTooLongError{line: l.n, limit: l.limit}
		}
		if line == nil {
			line = []byte{}
		}
		return line, nil
	}
}

// untilDone returns a reader of r whose Read also ends, with the context's cause, when ctx does: a program that waits for someone to type
// must hear Ctrl-C. A read of r that is under way then stays behind in a goroutine until r answers.
func untilDone(ctx context.Context, r io.Reader) io.Reader {
	return &doneReader{ctx: ctx, r: r, chunks: make(chan chunk)}
}

type doneReader struct {
	ctx     context.Context //nolint:containedctx // io.Reader has no place for it
	r       io.Reader
	chunks  chan chunk
	started bool
	rest    []byte
	err     error
}

type chunk struct {
	data []byte
	err  error
}

// Read implements io.Reader.
func (d *doneReader) Read(p []byte) (int, error) {
	if !d.started {
		d.started = true
		go d.pump()
	}
	for len(d.rest) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		select {
		case c := <-d.chunks:
			d.rest, d.err = c.data, c.err
		case <-d.ctx.Done():
			d.err = context.Cause(d.ctx)
		}
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// pump reads ahead into two buffers in turn: one is handed over only when the other has been used up.
func (d *doneReader) pump() {
	var buffers [2][32 << 10]byte
	for i := 0; ; i ^= 1 {
		n, err := d.r.Read(buffers[i][:])
		select {
		case d.chunks <- chunk{data: buffers[i][:n], err: err}:
		case <-d.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}
