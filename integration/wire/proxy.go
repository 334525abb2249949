package wire

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Loss is what happens at the chosen command.
type Loss int

// The losses.
const (
	// Dies: it is the last command that Redis gets from this program, and no answer comes back any more. Fault.Kill ends the
	// program while all its connections stand still.
	Dies Loss = iota
	// Unsent: its connection ends before it. What stood before it in a pipeline is executed and answered.
	Unsent
	// Answer: it is executed, and its connection ends before its answer. What stands behind it in a pipeline is not executed.
	Answer
	// Answers: it and what was sent behind it in the pipeline are executed, and the connection ends before its answer.
	Answers
)

func (l Loss) String() string { return [...]string{"dies", "unsent", "answer", "answers"}[l] }

// together is how long the rest of a pipeline may be on its way behind a command.
const together = 20 * time.Millisecond

// Fault is what happens to a program, once.
type Fault struct {
	At   int                    // number of the command, from 1; 0: never
	From func(name string) bool // counting begins with the first command of which this is true. Nil: with the next one
	Loss Loss
	Kill func() // of Dies
}

// Proxy is one program's way to Redis.
type Proxy struct {
	target   string
	book     *Book
	listener net.Listener
	done     sync.WaitGroup

	mu     sync.Mutex // held while a command goes to Redis: their order is that of the numbers
	fault  Fault
	begun  bool
	names  []string // of the commands that were counted
	dead   bool     // nothing goes to Redis any more
	closed bool
	conns  map[*link]struct{}
	struck chan struct{}
}

// Start listens on the loopback until the test ends. target is "host:port" of a Redis; book may be shared.
func Start(t testing.TB, target string, book *Book) *Proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(fmt.Errorf("wire: %w", err))
	}
	p := &Proxy{target: target, book: book, listener: l, conns: map[*link]struct{}{}, struck: make(chan struct{})}
	p.done.Go(func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			p.done.Go(func() { p.serve(near) })
		}
	})
	t.Cleanup(p.Close)
	return p
}

// URL is where the program finds its Redis.
func (p *Proxy) URL() string { return "redis://" + p.listener.Addr().String() + "/0" }

// Close ends the proxy and all connections through it.
func (p *Proxy) Close() {
	p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for l := range p.conns {
		l.near.Close()
		l.far.Close()
	}
	p.mu.Unlock()
	p.done.Wait()
}

// Arm begins to count anew, for a fault that is to happen. It is for a proxy whose fault has not happened.
func (p *Proxy) Arm(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.begun, p.names = f, f.From == nil, nil
}

// Names are the commands that were counted so far.
func (p *Proxy) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.names...)
}

// Struck is closed when the fault has happened, and Redis has executed all that it is ever to get through the broken connections.
func (p *Proxy) Struck() <-chan struct{} { return p.struck }

// link is one connection.
type link struct {
	p         *Proxy
	near, far net.Conn

	drained chan struct{} // Redis has closed it, so it has executed all that it got

	mu      sync.Mutex
	waiting []waits       // commands whose answers are still to come
	broken  bool          // no answer goes to the program any more
	idle    chan struct{} // closed when it is broken and nothing is to come
}

// waits is a command without its answer.
type waits struct {
	pushes int  // of a subscription: its answers are pushes, one for each channel
	lost   bool // neither this answer nor one behind it goes to the program
}

func (p *Proxy) serve(near net.Conn) {
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		near.Close()
		return
	}
	l := &link{p: p, near: near, far: far, drained: make(chan struct{}), idle: make(chan struct{})}
	p.mu.Lock()
	if p.dead || p.closed {
		p.mu.Unlock()
		near.Close()
		far.Close()
		return
	}
	p.conns[l] = struct{}{}
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(l.commands)
	both.Go(l.answers)
	both.Wait()
	p.mu.Lock()
	delete(p.conns, l)
	p.mu.Unlock()
}

// commands carries what the program sends.
func (l *link) commands() {
	r := bufio.NewReaderSize(l.near, 64<<10)
	for {
		words, raw, err := readCommand(r)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				l.near.Close()
			}
			halfClose(l.far) // what was sent is still executed
			return
		}
		switch loss, strikes, alive := l.p.forward(l, words, raw); {
		case !alive:
			return
		case strikes:
			l.strike(loss, r)
			return
		}
	}
}

// forward sends a command to Redis and reports whether it is the connection's last one. Not alive: nothing goes to Redis any more.
func (p *Proxy) forward(l *link, words []string, raw []byte) (loss Loss, strikes, alive bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	loss = p.fault.Loss
	if p.dead {
		return loss, false, false
	}
	name := p.book.name(words)
	if !p.begun && p.fault.From != nil && p.fault.From(name) {
		p.begun = true
	}
	if p.begun {
		p.names = append(p.names, name)
		strikes = p.fault.At > 0 && len(p.names) == p.fault.At
	}
	if strikes && loss == Unsent {
		return loss, true, true
	}
	l.expect(name, len(words)-1, strikes && loss != Dies)
	if _, err := l.far.Write(raw); err != nil {
		l.near.Close()
		return loss, false, false
	}
	if strikes && loss == Dies {
		p.die()
		return loss, false, false
	}
	return loss, strikes, true
}

// die ends the program: the caller holds mu, so no other command goes out.
func (p *Proxy) die() {
	p.dead = true
	if p.fault.Kill != nil {
		p.fault.Kill()
	}
	var open []*link
	for l := range p.conns {
		l.stop()
		halfClose(l.far)
		open = append(open, l)
	}
	p.done.Go(func() {
		for _, l := range open {
			<-l.drained
		}
		close(p.struck)
	})
}

// strike breaks one connection, whose reader may hold the rest of a pipeline.
func (l *link) strike(loss Loss, r *bufio.Reader) {
	if loss == Answers {
		l.rest(r)
	}
	if loss != Unsent {
		select {
		case <-l.idle: // executed, and its answer came, and those behind it
		case <-l.drained:
		}
	}
	halfClose(l.far) // what stood before it is still executed and answered
	<-l.drained
	close(l.p.struck)
}

// rest sends what was sent behind the last command, in the same pipeline.
func (l *link) rest(r *bufio.Reader) {
	for {
		if r.Buffered() == 0 {
			_ = l.near.SetReadDeadline(time.Now().Add(together))
		}
		words, raw, err := readCommand(r)
		if err != nil {
			return
		}
		if _, _, alive := l.p.forward(l, words, raw); !alive {
			return
		}
	}
}

// expect notes that an answer is to come.
func (l *link) expect(name string, channels int, lost bool) {
	w := waits{lost: lost}
	switch name {
	case "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe":
		w.pushes = max(channels, 1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = append(l.waiting, w)
}

// stop lets no answer through any more.
func (l *link) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = true
}

// answers carries what Redis sends until it closes the connection, also when nobody is there any more: what was sent is executed.
func (l *link) answers() {
	defer close(l.drained)
	r := bufio.NewReaderSize(l.far, 64<<10)
	for {
		raw, push, err := readAnswer(r)
		if err != nil {
			break
		}
		if l.passes(push) {
			if _, err := l.near.Write(raw); err != nil {
				l.stop()
			}
		}
	}
	l.far.Close()
	l.near.Close()
}

// passes takes an answer off those that are to come, and reports whether it goes to the program.
func (l *link) passes(push string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) > 0 {
		head := &l.waiting[0]
		if head.lost {
			l.broken = true
		}
		switch {
		case push == "" && head.pushes == 0, head.pushes == 1 && subscription(push):
			l.waiting = l.waiting[1:]
		case head.pushes > 1 && subscription(push):
			head.pushes--
		}
	}
	if l.broken && len(l.waiting) == 0 {
		select {
		case <-l.idle:
		default:
			close(l.idle)
		}
	}
	return !l.broken
}

func subscription(push string) bool {
	switch push {
	case "subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe":
		return true
	}
	return false
}

func halfClose(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.CloseWrite()
	}
}
