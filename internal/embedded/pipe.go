package embedded

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// pipe returns the two ends of a connection in memory. Unlike net.Pipe it buffers without limit, as a socket does within its
// limits: a client writes a whole pipeline before it reads the first answer, and miniredis answers before it reads on. It
// blocks on channels alone, so it works in a testing/synctest bubble.
func pipe() (client, srv net.Conn) {
	there, back := newStream(), newStream()
	return &end{in: back, out: there}, &end{in: there, out: back}
}

// stream is one direction of a pipe.
type stream struct {
	mu     sync.Mutex
	buf    []byte
	closed bool          // by either end
	woken  chan struct{} // holds one token while there may be something for the reader

	deadline time.Time
	moved    chan struct{} // closed and made anew when the deadline changes
}

func newStream() *stream {
	return &stream{woken: make(chan struct{}, 1), moved: make(chan struct{})}
}

func (s *stream) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

func (s *stream) write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, io.ErrClosedPipe
	}
	s.buf = append(s.buf, p...)
	s.wake()
	return len(p), nil
}

func (s *stream) read(p []byte) (int, error) {
	for {
		s.mu.Lock()
		if len(s.buf) > 0 {
			n := copy(p, s.buf)
			s.buf = s.buf[n:]
			if len(s.buf) > 0 || s.closed {
				s.wake()
			} else {
				s.buf = nil
			}
			s.mu.Unlock()
			return n, nil
		}
		closed, deadline, moved := s.closed, s.deadline, s.moved
		s.mu.Unlock()
		if closed {
			s.wake() // for the next reader
			return 0, io.EOF
		}
		if err := s.wait(deadline, moved); err != nil {
			return 0, err
		}
	}
}

// wait returns when there may be something to read, or the deadline changed.
func (s *stream) wait(deadline time.Time, moved <-chan struct{}) error {
	var late <-chan time.Time
	if !deadline.IsZero() {
		left := time.Until(deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		t := time.NewTimer(left)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-s.woken:
		return nil
	case <-moved:
		return nil
	case <-late:
		return os.ErrDeadlineExceeded
	}
}

func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.wake()
}

func (s *stream) setDeadline(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	close(s.moved)
	s.moved = make(chan struct{})
}

// end is one end of a pipe.
type end struct{ in, out *stream }

func (e *end) Read(p []byte) (int, error)  { return e.in.read(p) }
func (e *end) Write(p []byte) (int, error) { return e.out.write(p) }

// Close ends both directions. What the other end has not read yet it still can.
func (e *end) Close() error {
	e.in.close()
	e.out.close()
	return nil
}

func (e *end) LocalAddr() net.Addr  { return memory{} }
func (e *end) RemoteAddr() net.Addr { return memory{} }

func (e *end) SetDeadline(t time.Time) error     { return e.SetReadDeadline(t) }
func (e *end) SetReadDeadline(t time.Time) error { e.in.setDeadline(t); return nil }

// SetWriteDeadline does nothing: no write waits.
func (e *end) SetWriteDeadline(time.Time) error { return nil }

type memory struct{}

func (memory) Network() string { return "pipe" }
func (memory) String() string  { return "embedded" }
