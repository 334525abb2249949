package carrier

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/internal/keys"
)

// broken is a client that never gets an answer.
type broken struct {
	redis.UniversalClient
	tries atomic.Int64
}

func (b *broken) Process(_ context.Context, cmd redis.Cmder) error {
	b.tries.Add(1)
	err := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	cmd.SetErr(err)
	return err
}

var dequeueKeys = []string{"asynq:{n:q}:pending", "asynq:{n:q}:paused", "asynq:{n:q}:active", "asynq:{n:q}:lease"}

func TestGateBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, slots := &broken{}, slotsOf(1)
		g := newGate(conn.New(rdb, quiet), keys.New("n", 1), slots, map[string]int{"q": 1}, false)
		end := time.Now().Add(time.Minute)
		for time.Now().Before(end) { // as asynq does, without a pause of its own
			if err := g.Eval(t.Context(), "dequeue", dequeueKeys).Err(); err == nil || errors.Is(err, redis.Nil) {
				t.Fatalf("the failure is hidden: %v", err)
			}
		}
		if n := rdb.tries.Load(); n < 50 || n > 500 {
			t.Errorf("%d tries in a minute", n)
		}
		if n := slots.taken(); n != 0 {
			t.Errorf("%d slots are taken", n)
		}
		// A drain does not wait for the end of a pause.
		begin := time.Now()
		time.AfterFunc(time.Millisecond, g.stop)
		g.Eval(t.Context(), "dequeue", dequeueKeys)
		if d := time.Since(begin); d > time.Millisecond {
			t.Errorf("drained after %v", d)
		}
		if err := g.Eval(t.Context(), "dequeue", dequeueKeys).Err(); !errors.Is(err, redis.Nil) {
			t.Errorf("a draining gate answers %v", err)
		}
	})
}

func TestGateRecognises(t *testing.T) {
	g := newGate(conn.New(&broken{}, quiet), keys.New("n", 1), slotsOf(1), map[string]int{"q": 1, "q.2": 1}, false)
	for _, tt := range []struct {
		keys  []string
		queue string
	}{
		{dequeueKeys, "q"},
		{[]string{"asynq:{n:q.2}:pending", "", "", ""}, "q.2"},
		{[]string{"asynq:{n:other}:pending", "", "", ""}, ""},
		{[]string{"asynq:{m:q}:pending", "", "", ""}, ""},
		{[]string{"asynq:{n:q}:active", "asynq:{n:q}:pending", "", ""}, ""},
		{dequeueKeys[:3], ""},
		{append(dequeueKeys[:4:4], "x"), ""},
		{[]string{":pending", "", "", ""}, ""},
		{nil, ""},
	} {
		if queue, ok := g.dequeueOf(tt.keys); queue != tt.queue || ok != (tt.queue != "") {
			t.Errorf("%q: %q, %v", tt.keys, queue, ok)
		}
	}
}

func TestBellWait(t *testing.T) {
	pipe := redis.NewClient(&redis.Options{Network: "pipe", ReadTimeout: -1})
	defer pipe.Close()
	for _, tended := range []bool{false, true} {
		if c, d := atBells(pipe, tended); d != parkLimit || c != redis.UniversalClient(pipe) {
			t.Errorf("in this process it waits %v, want %v", d, parkLimit)
		}
	}
	for timeout, want := range map[time.Duration]time.Duration{
		0:                      longestWait, // go-redis' default of 3 s
		-1:                     longestWait,
		time.Second:            time.Second * 2 / 3,
		6 * time.Millisecond:   shortestWait,
		600 * time.Millisecond: 400 * time.Millisecond,
	} {
		c := redis.NewClient(&redis.Options{ReadTimeout: timeout})
		t.Cleanup(func() { c.Close() })
		if _, d := atBells(c, false); d != want {
			t.Errorf("with a read time-out of %v it waits %v, want %v", timeout, d, want)
		}
		// Where somebody else looks it waits longer than the caller's client would read, and the caller's stays as it is.
		bells, d := atBells(c, true)
		if d != tendedWait {
			t.Errorf("tended, with a read time-out of %v, it waits %v, want %v", timeout, d, tendedWait)
		}
		own, ok := bells.(*redis.Client)
		if !ok || own.Options().ReadTimeout > 0 && own.Options().ReadTimeout <= d || own.Options().ReadTimeout < 0 && timeout != -1 {
			t.Errorf("and reads for %v", own.Options().ReadTimeout)
		}
		if now := c.Options().ReadTimeout; timeout > 0 && now != timeout {
			t.Errorf("the caller's read time-out became %v", now)
		}
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"x:1"}})
	defer cluster.Close()
	if c, d := atBells(cluster, true); d != longestWait || c != redis.UniversalClient(cluster) {
		t.Errorf("in a cluster it waits %v, want %v", d, longestWait)
	}
}

// cut loses the answer to the first dequeue: Redis executes it, and the connection is gone.
type cut struct {
	net.Conn
	armed *atomic.Bool
	lost  bool
}

func (c *cut) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("}:pending")) && bytes.Contains(p, []byte("}:lease")) && !bytes.Contains(p, []byte("blpop")) && c.armed.CompareAndSwap(true, false) {
		c.lost = true
	}
	return c.Conn.Write(p)
}

func (c *cut) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if c.lost {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return n, err
}

// A dequeue that was executed and not answered is not repeated: that would take one more message, and leave the first to nobody.
func TestDecision03_DequeueIsNotRepeated(t *testing.T) {
	r, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	clean := redis.NewClient(r.Options())
	defer clean.Close()
	var armed atomic.Bool
	opts := r.Options()
	dial := opts.Dialer
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := dial(ctx, network, addr)
		return &cut{Conn: c, armed: &armed}, err
	}
	rdb := redis.NewClient(opts)
	defer rdb.Close()

	slots := slotsOf(1)
	c, g := carrierOf(clean), newGate(conn.New(rdb, quiet), keys.New("n", 1), slots, map[string]int{"q": 1}, false)
	if err := c.Enqueue(t.Context(), tasks("q", 3)); err != nil {
		t.Fatal(err)
	}
	script := `local id = redis.call('RPOPLPUSH', KEYS[1], KEYS[3]) return id and redis.call('HGET', 'asynq:{n:q}:t:' .. id, 'msg')`
	armed.Store(true)
	if err := g.Eval(t.Context(), script, dequeueKeys).Err(); err == nil || errors.Is(err, redis.Nil) {
		t.Fatalf("the lost answer is %v", err)
	}
	if n := clean.LLen(t.Context(), "asynq:{n:q}:active").Val(); n != 1 {
		t.Errorf("%d messages were taken, want 1", n)
	}
	if n := slots.taken(); n != 0 {
		t.Errorf("%d slots are taken after a failure", n)
	}
	if err := g.Eval(t.Context(), script, dequeueKeys).Err(); err != nil {
		t.Errorf("after it: %v", err)
	}
	if n := slots.taken(); n != 1 {
		t.Errorf("%d slots are taken after a hit", n)
	}
}

// A cluster of one: the bells and asynq's queues lie in different slots, so no script and no pipeline may hold both.
func TestCluster(t *testing.T) {
	server := redistest.Local(t, "--cluster-enabled", "yes")
	admin := server.Client(t)
	if err := admin.Do(t.Context(), "cluster", "addslotsrange", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	opts, err := redis.ParseURL(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cluster is up", func() bool { return admin.Set(t.Context(), "k", "v", 0).Err() == nil })
	dial := func() *redis.ClusterClient {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{opts.Addr}})
		t.Cleanup(func() { rdb.Close() })
		return rdb
	}
	for _, queues := range []map[string]int{{"q": 1}, {"q": 1, "r": 2}} {
		slots := slotsOf(2)
		c, box := carrierOf(dial()), inboxOf(slots)
		log := &sent{}
		worker := dial()
		worker.AddHook(log)
		s := serve(t, carrierOf(worker), ServeConfig{Queues: queues, Slots: slots, Handle: box.handle})
		want := 0
		for q := range queues {
			eventually(t, "parked", isParked(t, admin, c.keys, q))
			before := conn.NewCommand("set", "{x}record", "1")
			if err := c.Enqueue(t.Context(), tasks(q, 20), before); err != nil || before.Reply != "OK" {
				t.Fatal(err, before.Err)
			}
			want += 20
			eventually(t, "all handled", func() bool { return box.len() == want })
		}
		eventually(t, "parked again", isParked(t, admin, c.keys, "q"))
		s.Drain()
		if d := box.doubles(); len(d) > 0 || slots.taken() != 0 {
			t.Errorf("twice %v, %d slots taken", d, slots.taken())
		}
		rang := false
		for _, pipe := range log.take() {
			for _, cmd := range pipe {
				rang = rang || cmd.Name() == "blpop" && cmd.Err() == nil
			}
		}
		if !rang {
			t.Error("no bell rang")
		}
	}
}

// A slot that was set aside for a handler which never starts is free again after a while, and one that was taken over is not.
func TestSlotsSetAsideComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slots := slotsOf(3)
		g := newGate(conn.New(&broken{}, quiet), keys.New("n", 1), slots, map[string]int{"q": 1}, false)
		message := "\x1a\x02id"
		for range 2 {
			_ = slots.Acquire(t.Context())
			g.setAside(message)
			time.Sleep(startsWithin / 4)
		}
		if !g.take() {
			t.Fatal("there is no slot")
		}
		_ = slots.Acquire(t.Context())
		g.setAside("no message") // for this one none is kept
		if n := slots.taken(); n != 2 {
			t.Errorf("%d slots are taken, want 2", n)
		}
		time.Sleep(2 * startsWithin)
		synctest.Wait()
		if n := slots.taken(); n != 1 {
			t.Errorf("%d slots are taken, want that of the handler that started", n)
		}
		if g.take() {
			t.Error("a slot was given away twice")
		}
		_ = slots.Acquire(t.Context())
		g.setAside(message)
		g.close()
		if n := slots.taken(); n != 1 {
			t.Errorf("%d slots are taken after the end", n)
		}
	})
}
