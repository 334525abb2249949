package delayproxy

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// echoServer sends back what it gets.
func echoServer(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

func TestTheWireIsLongAndNotNarrow(t *testing.T) {
	t.Parallel()
	const delay, parcels = 100 * time.Millisecond, 200
	c, err := net.Dial("tcp", Start(t, echoServer(t), delay))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var sent bytes.Buffer
	begin := time.Now()
	go func() {
		for i := range parcels {
			c.Write([]byte{byte(i), byte(i >> 8)})
			time.Sleep(time.Millisecond / 2) // parcels of their own, many on the wire at once
		}
		c.(*net.TCPConn).CloseWrite()
	}()
	for i := range parcels {
		sent.Write([]byte{byte(i), byte(i >> 8)})
	}
	got := make([]byte, 2*parcels)
	if _, err := io.ReadFull(c, got[:1]); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d < 2*delay {
		t.Errorf("the first byte came back after %v, want 2 × %v at least", d, delay)
	}
	if _, err := io.ReadFull(c, got[1:]); err != nil {
		t.Fatal(err)
	}
	// One delay for each parcel would be 20 s and more.
	if d := time.Since(begin); d > parcels*delay/4 {
		t.Errorf("all came back after %v: one parcel waits for the next", d)
	}
	if !bytes.Equal(got, sent.Bytes()) {
		t.Error("they came back in another order")
	}
	if n, err := c.Read(got); n != 0 || err == nil {
		t.Errorf("after the end: %d bytes, %v", n, err)
	}
}

func TestNobodyBehindTheWire(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	l.Close()
	c, err := net.Dial("tcp", Start(t, gone, time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("somebody answered")
	}
}
