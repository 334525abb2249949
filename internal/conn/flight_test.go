package conn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/embedded"
)

// barrier holds every flight until it is told, and counts their commands.
type barrier struct {
	mu      sync.Mutex
	flights [][]string
	arrived chan struct{}
	open    chan struct{}
}

func newBarrier() *barrier {
	return &barrier{arrived: make(chan struct{}, 1000), open: make(chan struct{})}
}

func (b *barrier) pass(cmds ...redis.Cmder) {
	var names []string
	for _, c := range cmds {
		if c.Name() == "hello" || c.Name() == "client" {
			return // a new connection's own
		}
		names = append(names, c.Name())
	}
	b.mu.Lock()
	b.flights = append(b.flights, names)
	b.mu.Unlock()
	b.arrived <- struct{}{}
	<-b.open
}

func (b *barrier) count() (flights, commands int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.flights {
		commands += len(f)
	}
	return len(b.flights), commands
}

func (b *barrier) DialHook(next redis.DialHook) redis.DialHook { return next }
func (b *barrier) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { b.pass(cmd); return next(ctx, cmd) }
}
func (b *barrier) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { b.pass(cmds...); return next(ctx, cmds) }
}

// private returns a connection to a Redis of its own, whose flights stop at the barrier, and a client without one.
func private(t *testing.T, b *barrier) (*conn.Conn, *redis.Client) {
	t.Helper()
	srv, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	rdb, plain := redis.NewClient(srv.Options()), redis.NewClient(srv.Options())
	t.Cleanup(func() { rdb.Close(); plain.Close() })
	if b != nil {
		rdb.AddHook(b)
	}
	return conn.New(rdb, quiet), plain
}

const shard = "gq:{n:0}:"

var adds = conn.NewItemScript("adds", 2, `
local function item(set, member)
  if member == 'bad' then error('bad member') end
  redis.call('SADD', set, member)
  return member
end`)

// occupy starts a call that stops at the barrier.
func occupy(t *testing.T, c *conn.Conn, b *barrier, wg *sync.WaitGroup) {
	t.Helper()
	wg.Go(func() {
		if err := c.Do(t.Context(), conn.NewCommand("get", "x")); err != nil {
			t.Error(err)
		}
	})
	<-b.arrived
}

// Further calls wait for a flight to land, not for company. How many share one is the machine's pace, so it has a few tries.
func TestDecision39_WhatWaitsSharesAPipeline(t *testing.T) {
	const callers = 40
	for range 5 {
		flights, commands := shared(t, callers)
		if commands != callers+flights { // alone these would be 40 flights with 80 commands; of scripts each has one command
			t.Fatalf("%d flights with %d commands", flights, commands)
		}
		if flights <= callers*3/4 {
			return
		}
		t.Logf("%d flights of %d calls", flights, callers)
	}
	t.Error("calls that wait travel each by itself")
}

// shared returns in how many flights the calls of so many callers leave that come while others are under way, and with how many commands.
func shared(t *testing.T, callers int) (flights, commands int) {
	t.Helper()
	b := newBarrier()
	c, plain := private(t, b)
	var wg sync.WaitGroup
	const before = 3 // at first a call leaves at once, each by itself
	for range before {
		occupy(t, c, b, &wg)
	}
	// A call that is not answered is looked at after a while, so be quick.
	for i := range callers {
		wg.Go(func() {
			member := fmt.Sprint(i)
			add, get := conn.NewCall(adds, shard, "members", member), conn.NewCommand("echo", member)
			if err := c.Do(t.Context(), add, get); err != nil || add.Err != nil || get.Err != nil {
				t.Error(err, add.Err, get.Err)
			} else if add.Reply != member || get.Reply != member {
				t.Errorf("answers %v and %v to %s", add.Reply, get.Reply, member)
			}
		})
	}
	<-b.arrived // stuck flights count no more: one with what waited so far has left
	close(b.open)
	wg.Wait()
	if n := plain.SCard(t.Context(), "members").Val(); int(n) != callers {
		t.Errorf("%d members", n)
	}
	flights, commands = b.count()
	return flights - before, commands - before
}

func TestAFailingItemIsItsOwn(t *testing.T) {
	c, plain := private(t, nil)
	for _, flush := range []bool{false, true} {
		if flush {
			plain.ScriptFlush(t.Context())
		}
		calls := []*conn.Call{
			conn.NewCall(adds, shard, "s", "a"), conn.NewCall(adds, shard, "s", "bad"),
			conn.NewCall(adds, shard, "s", "c"), conn.NewCommand("sadd", "s", "d"),
		}
		if err := c.Do(t.Context(), calls...); err != nil {
			t.Fatal(err)
		}
		if calls[0].Reply != "a" || calls[2].Reply != "c" || calls[0].Err != nil || calls[2].Err != nil || calls[1].Err == nil {
			t.Errorf("%v %v, %v %v, %v %v", calls[0].Reply, calls[0].Err, calls[1].Reply, calls[1].Err, calls[2].Reply, calls[2].Err)
		}
		if got := plain.SMembers(t.Context(), "s").Val(); !slices.Equal(slices.Sorted(slices.Values(got)), []string{"a", "c", "d"}) {
			t.Error(got)
		}
	}
}

func TestDecision16_ACallThatNeverLeftIsNoDoubt(t *testing.T) {
	b := newBarrier()
	c, plain := private(t, b)
	var wg sync.WaitGroup
	for range 3 {
		occupy(t, c, b, &wg)
	}
	// While three are under way it waits, and its caller leaves.
	ctx, stop := context.WithCancel(t.Context())
	stop()
	var ce *conn.Error
	if err := c.Do(ctx, conn.NewCommand("set", "never", "1")); !errors.As(err, &ce) || ce.Doubt {
		t.Errorf("%v", err)
	}
	ctx, stop = context.WithTimeout(t.Context(), 5*time.Millisecond)
	defer stop()
	err := c.Do(ctx, conn.NewCommand("set", "perhaps", "1"))
	if !errors.As(err, &ce) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	close(b.open)
	wg.Wait()
	if err := c.Do(t.Context(), conn.NewCommand("get", "x")); err != nil {
		t.Fatal(err)
	}
	if n := plain.Exists(t.Context(), "never").Val(); n != 0 {
		t.Error("its caller had left before it, and it was sent")
	}
	if n := plain.Exists(t.Context(), "perhaps").Val(); n != 0 && !ce.Doubt {
		t.Error("it was sent, and its caller was told that it was not")
	}
}

func TestASilentFlightHoldsUpNobody(t *testing.T) {
	b := newBarrier()
	c, _ := private(t, b)
	var wg sync.WaitGroup
	for range 8 { // more than may be under way
		occupy(t, c, b, &wg)
	}
	if flights, _ := b.count(); flights != 8 {
		t.Errorf("%d flights", flights)
	}
	close(b.open)
	wg.Wait()
}

func TestLargeCallsTravelByThemselves(t *testing.T) {
	b := newBarrier()
	c, _ := private(t, b)
	var wg sync.WaitGroup
	large := make([]byte, 100<<10)
	for i := range 6 {
		wg.Go(func() {
			if err := c.Do(t.Context(), conn.NewCommand("set", fmt.Sprint(i), large), conn.NewCommand("get", "x")); err != nil {
				t.Error(err)
			}
		})
		<-b.arrived // at once, though more are under way than small ones may be
	}
	close(b.open)
	wg.Wait()
	if flights, commands := b.count(); flights != 6 || commands != 12 {
		t.Errorf("%d flights, %d commands", flights, commands)
	}
}
