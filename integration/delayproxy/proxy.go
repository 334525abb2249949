package delayproxy

import (
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Start listens on a free port of the loopback and passes on what it gets to target ("host:port") and back, all of it delay
// later, in order. Whatever is on its way at once arrives together: the wire is long, not narrow. It ends with the test.
func Start(t testing.TB, target string, delay time.Duration) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(fmt.Errorf("delay proxy: %w", err))
	}
	p := &proxy{target: target, delay: delay, conns: map[net.Conn]bool{}}
	p.done.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			p.done.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.close()
		p.done.Wait()
	})
	return l.Addr().String()
}

type proxy struct {
	target string
	delay  time.Duration
	done   sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool
	closed bool
}

// hold remembers a connection; false when the proxy has ended.
func (p *proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.conns[c] = true
	return true
}

func (p *proxy) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for c := range p.conns {
		c.Close()
	}
}

// serve passes one connection on; an end that closes is closed at the other side once what was sent before has arrived.
func (p *proxy) serve(near net.Conn) {
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		near.Close()
		return
	}
	if !p.hold(near) || !p.hold(far) {
		near.Close()
		far.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { wire(near, far, p.delay) })
	both.Go(func() { wire(far, near, p.delay) })
	both.Wait()
	near.Close()
	far.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, near)
	delete(p.conns, far)
}

// parcel is some bytes that are on the wire.
type parcel struct {
	due  time.Time
	data []byte
}

// await returns at a time. A timer of Go's may be a millisecond late, which is much of a short wire: the last one is spent awake.
func await(due time.Time) {
	time.Sleep(time.Until(due) - time.Millisecond)
	for time.Now().Before(due) {
		runtime.Gosched()
	}
}

// wire carries what comes in at from to to until from ends.
func wire(from, to net.Conn, delay time.Duration) {
	under := make(chan parcel, 1<<12)
	var out sync.WaitGroup
	out.Go(func() {
		defer func() { // what comes the other way is still to arrive
			if t, ok := to.(*net.TCPConn); ok {
				_ = t.CloseWrite()
			} else {
				to.Close()
			}
		}()
		for p := range under {
			await(p.due)
			if _, err := to.Write(p.data); err != nil {
				from.Close() // nobody is there any more
			}
		}
	})
	for {
		buf := make([]byte, 32<<10)
		n, err := from.Read(buf)
		if n > 0 {
			under <- parcel{time.Now().Add(delay), buf[:n]}
		}
		if err != nil {
			close(under)
			out.Wait()
			return
		}
	}
}
