package conn_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/embedded"
)

var quiet = slog.New(slog.DiscardHandler)

// silent accepts connections and never answers. It counts them.
func silent(t *testing.T) (addr string, accepted *atomic.Int32) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	accepted = &atomic.Int32{}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().String(), accepted
}

func TestDecision40_DoEndsWithItsContext(t *testing.T) {
	addr, _ := silent(t)
	rdb := redis.NewClient(&redis.Options{Addr: addr})
	defer rdb.Close()
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- conn.New(rdb, quiet).Do(ctx, conn.NewCommand("incr", "x")) }()
	<-ctx.Done()
	select {
	case err := <-done:
		var ce *conn.Error
		if !errors.As(err, &ce) || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	case <-time.After(3 * time.Second): // go-redis' own time-out is five
		t.Fatal("Do outlives its context")
	}
}

func TestDecision16_NothingSentIsNoDoubt(t *testing.T) {
	t.Parallel()               // it lasts as long as the patience for a first contact
	const addr = "127.0.0.1:1" // nobody listens there; a port that was free a moment ago may be given to a server of another test
	rdb := redis.NewClient(&redis.Options{Addr: addr, MaxRetries: -1})
	defer rdb.Close()
	err := conn.New(rdb, quiet).Do(t.Context(), conn.NewCommand("incr", "x"))
	var ce *conn.Error
	if !errors.As(err, &ce) || ce.Doubt {
		t.Fatalf("%v: nothing can have been executed", err)
	}
}

// cut loses the reply of the n-th command that has this name: it is executed, and the connection breaks.
type cut struct {
	name string
	left atomic.Int32
}

func (c *cut) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *cut) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == c.name && c.left.Add(-1) == 0 {
			err = &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
			cmd.SetErr(err)
		}
		return err
	}
}

func (c *cut) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			if cmd.Name() == c.name && c.left.Add(-1) == 0 {
				err = &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
				for _, cmd := range cmds {
					cmd.SetErr(err)
				}
			}
		}
		return err
	}
}

func TestDecision03_ALostReplyIsAskedForAgainAndDoubted(t *testing.T) {
	srv, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	rdb := redis.NewClient(srv.Options())
	defer rdb.Close()
	hook := &cut{name: "set"}
	hook.left.Store(1)
	rdb.AddHook(hook)
	c := conn.New(rdb, quiet)
	set := conn.NewCommand("set", "a", "1")
	if err := c.Do(t.Context(), set, conn.NewCommand("set", "b", "2")); err != nil {
		t.Fatal(err)
	}
	if set.Reply != "OK" {
		t.Fatalf("%v %v", set.Reply, set.Err)
	}

	hook.left.Store(1)
	ctx, stop := context.WithCancel(t.Context())
	stopOnce := &stopAfter{stop: stop}
	rdb.AddHook(stopOnce)
	err = c.Do(ctx, conn.NewCommand("set", "a", "1"))
	var ce *conn.Error
	if !errors.As(err, &ce) || !ce.Doubt {
		t.Fatalf("%v: it was executed, its answer was lost", err)
	}
}

// stopAfter ends the caller's context once a command has been through.
type stopAfter struct{ stop context.CancelFunc }

func (s *stopAfter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (s *stopAfter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		defer s.stop()
		return next(ctx, cmd)
	}
}
func (s *stopAfter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func TestScriptsAreLoadedWhereTheyAreMissing(t *testing.T) {
	srv, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	rdb := redis.NewClient(srv.Options())
	defer rdb.Close()
	c := conn.New(rdb, quiet)
	s := conn.NewScript("answer", "return {P, ARGV[1]}")
	for range 2 {
		calls := []*conn.Call{conn.NewCall(s, "gq:{n:0}:", "x"), conn.NewCommand("get", "missing"), conn.NewCall(s, "gq:{n:1}:", "y"), conn.NewCommand("hget", "a", "b", "c")}
		if err := c.Do(t.Context(), calls...); err != nil {
			t.Fatal(err)
		}
		if l, ok := calls[0].Reply.([]any); !ok || l[0] != "gq:{n:0}:" || l[1] != "x" {
			t.Fatal(calls[0].Reply, calls[0].Err)
		}
		if calls[1].Reply != nil || calls[1].Err != nil {
			t.Fatal(calls[1].Reply, calls[1].Err)
		}
		if calls[3].Err == nil {
			t.Fatal("an error reply is the call's own")
		}
		rdb.ScriptFlush(t.Context())
	}
}

func TestPassingErrors(t *testing.T) {
	for text, want := range map[string]bool{"LOADING Redis is loading": true, "READONLY You can't write": true, "TRYAGAIN x": true, "ERR wrong": false, "OOM command": false,
		"ERR max number of clients reached": true, "WRONGTYPE x": false} {
		if got := conn.Passing(errors.New(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// Where Redis' memory is full our scripts run, but for those that create.
func TestDecision18_ScriptsRunWhereMemoryIsFull(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		rdb := s.Client(t)
		c := conn.New(rdb, quiet)
		settle := conn.NewScript("settle", "redis.call('HSET', P .. 'r:a', 'v', ARGV[1]) return redis.call('LPUSH', P .. 'y:a', 'x')")
		create := conn.NewScript("create", "redis.call('HSET', P .. 'r:b', 'v', ARGV[1]) return 1").Refusable()
		if s.IsReal() {
			if err := rdb.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
				t.Fatal(err)
			}
		}
		for round := range 3 { // with the text, by its name, and after Redis has lost it
			calls := []*conn.Call{conn.NewCall(settle, "gq:{n:0}:", "x"), conn.NewCall(create, "gq:{n:0}:", "y")}
			if err := c.Do(t.Context(), calls...); err != nil {
				t.Fatal(err)
			}
			if n, _ := calls[0].Reply.(int64); n != int64(round+1) || calls[0].Err != nil {
				t.Errorf("round %d: settle: %v, %v", round, calls[0].Reply, calls[0].Err)
			}
			if s.IsReal() && !redis.HasErrorPrefix(calls[1].Err, "OOM") {
				t.Errorf("round %d: create: %v, %v", round, calls[1].Reply, calls[1].Err)
			}
			if round == 1 {
				rdb.ScriptFlush(t.Context())
			}
		}
	})
}

// What is stale after a while is not sent again then, however patient Do would be.
func TestDoWithinEndsWhenItsWhileIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		rdb := redis.NewClient(&redis.Options{MaxRetries: -1, Dialer: func(context.Context, string, string) (net.Conn, error) {
			tries++
			return nil, errors.New("refused")
		}, DialerRetries: 1})
		defer rdb.Close()
		began := time.Now()
		err := conn.New(rdb, quiet).DoWithin(t.Context(), 900*time.Millisecond, conn.NewCommand("ping"))
		if _, is := errors.AsType[*conn.Error](err); !is || tries < 3 {
			t.Errorf("%v after %d tries", err, tries)
		}
		if took := time.Since(began); took < 900*time.Millisecond || took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
