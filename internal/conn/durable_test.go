package conn_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/conn"
)

// replica starts a replica of a server that has caught up.
func replica(t *testing.T, of *redistest.Server) *redistest.Server {
	t.Helper()
	host, port, err := net.SplitHostPort(of.Client(t).Options().Addr)
	if err != nil {
		t.Fatal(err)
	}
	r := redistest.Local(t, "--replicaof", host+" "+port)
	master := of.Client(t)
	for {
		if err := master.Incr(t.Context(), "caught-up").Err(); err != nil {
			t.Fatal(err)
		}
		// On one connection: that of another would be asked about nothing.
		c := master.Conn()
		c.Set(t.Context(), "caught-up", "1", 0)
		n, err := c.Wait(t.Context(), 1, 200*time.Millisecond).Result()
		c.Close()
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			return r
		}
	}
}

func diskless(t *testing.T) *redistest.Server {
	return redistest.Local(t, "--repl-diskless-sync-delay", "0")
}

func confirmed(args ...any) *conn.Call {
	c := conn.NewCommand(args...)
	c.Confirm = true
	return c
}

func TestDecision17_AWriteIsConfirmedByReplicas(t *testing.T) {
	t.Parallel()
	master := diskless(t)
	r := replica(t, master)
	c := conn.NewDurable(master.Client(t), quiet, conn.Policy{Replicas: 1, Within: 10 * time.Second})
	write := confirmed("set", "k", "1")
	if err := c.All(t.Context(), write); err != nil || write.Short != nil {
		t.Fatalf("with the replica there: %v, short: %v", err, write.Short)
	}
	if v := r.Client(t).Get(t.Context(), "k").Val(); v != "1" {
		t.Errorf("confirmed, and the replica has %q", v)
	}
	plain := conn.NewCommand("set", "k", "2")
	if err := c.All(t.Context(), plain); err != nil || plain.Short != nil {
		t.Errorf("one that asks for nothing: %v, short: %v", err, plain.Short)
	}

	r.Pause(t)
	var short *conn.Conn
	for name, call := range map[string]*conn.Call{
		"a write": confirmed("set", "k", "3"),
		// Another connection has written it, and the replica does not have it.
		"a call that only finds what is there": confirmed("get", "k"),
	} {
		// Over a new connection each: of one that has written before, WAIT says what became of that.
		short = conn.NewDurable(master.Client(t), quiet, conn.Policy{Replicas: 1, Within: 50 * time.Millisecond})
		if err := short.All(t.Context(), call); err != nil {
			t.Fatal(name, err)
		}
		if e, ok := errors.AsType[*conn.ShortError](call.Short); !ok || e.Err != nil || e.Have != 0 || !strings.Contains(e.Error(), "0 replicas of 1 within 50ms") {
			t.Errorf("%s with a replica that is stopped: %v", name, call.Short)
		}
	}
	end := conn.NewCommand("set", "k", "4")
	end.Ends = 3
	if err := short.All(t.Context(), end); err != nil || end.Short != nil {
		t.Fatalf("an outcome is told all the same: %v, %v", err, end.Short)
	}
	for short.Stats().Short != 3 {
		if t.Context().Err() != nil {
			t.Fatalf("%d outcomes counted as short, want 3", short.Stats().Short)
		}
		time.Sleep(time.Millisecond)
	}
	r.Resume(t)
	again := confirmed("get", "k")
	if err := c.All(t.Context(), again); err != nil || again.Short != nil {
		t.Errorf("with the replica back: %v, short: %v", err, again.Short)
	}
}

func TestDecision17_AWriteIsConfirmedByItsFsync(t *testing.T) {
	t.Parallel()
	for _, image := range []string{"redis:8.0", "valkey/valkey:8.1"} {
		t.Run(strings.ReplaceAll(image, "/", "_"), func(t *testing.T) {
			t.Parallel()
			s := redistest.Container(t, image)
			rdb := s.Client(t)
			c := conn.NewDurable(s.Client(t), quiet, conn.Policy{Fsync: true, Within: 10 * time.Second})
			call := confirmed("set", "k", "1")
			if err := c.All(t.Context(), call); err != nil || call.Short == nil || !strings.Contains(call.Short.Error(), "appendonly is disabled") {
				t.Fatalf("without a file: %v, %v", err, call.Short)
			}
			rdb.ConfigSet(t.Context(), "appendfsync", "everysec")
			if err := rdb.ConfigSet(t.Context(), "appendonly", "yes").Err(); err != nil {
				t.Fatal(err)
			}
			call = confirmed("set", "k", "2")
			if err := c.All(t.Context(), call); err != nil || call.Short != nil {
				t.Errorf("with fsync every second: %v, %v", err, call.Short)
			}
			rdb.ConfigSet(t.Context(), "appendfsync", "no")
			rdb.Set(t.Context(), "k", "0", 0)
			for name, call := range map[string]*conn.Call{
				"a write": confirmed("set", "k", "3"),
				// Another connection has written it: from Redis 7.2 on a WAITAOF behind this speaks of nothing, and is content.
				"a call that only finds what is there": confirmed("get", "k"),
			} {
				c = conn.NewDurable(s.Client(t), quiet, conn.Policy{Fsync: true, Within: 50 * time.Millisecond}) // over a new connection each
				if err := c.All(t.Context(), call); err != nil || call.Short == nil || !strings.Contains(call.Short.Error(), "not synced to disk within 50ms") {
					t.Errorf("%s with an fsync that nobody calls for: %v, %v", name, err, call.Short)
				}
			}
		})
	}
}

// TestDecision17_OneConfirmationForMany: who writes while all connections wait shares one confirmation, and slow ones hold up no outcome.
func TestDecision17_OneConfirmationForMany(t *testing.T) {
	t.Parallel()
	master := diskless(t)
	r := replica(t, master)
	rdb := master.Client(t)
	c := conn.NewDurable(rdb, quiet, conn.Policy{Replicas: 1, Within: time.Minute})
	if err := rdb.Do(t.Context(), "config", "resetstat").Err(); err != nil {
		t.Fatal(err)
	}
	r.Pause(t)
	const creators, each = 50, 4
	var wg sync.WaitGroup
	fail := make(chan error, creators*each)
	for i := range creators {
		wg.Go(func() {
			for n := range each {
				call := confirmed("incr", "n"+strconv.Itoa(i))
				if err := c.All(t.Context(), call); err != nil || call.Short != nil {
					fail <- fmt.Errorf("%d of %d: %w %w", n, i, err, call.Short)
				}
			}
		})
	}
	// Outcomes go on while nothing is confirmed.
	for n := range 100 {
		end := conn.NewCommand("incr", "ends")
		end.Ends = 1
		if err := c.All(t.Context(), end); err != nil || end.Reply != int64(n+1) {
			t.Fatal(err, end.Reply)
		}
	}
	r.Resume(t)
	wg.Wait()
	close(fail)
	for err := range fail {
		t.Error(err)
	}
	for i := range creators {
		if v := rdb.Get(t.Context(), "n"+strconv.Itoa(i)).Val(); v != strconv.Itoa(each) {
			t.Errorf("creator %d wrote %s times, want %d", i, v, each)
		}
	}
	stats, calls := rdb.Info(t.Context(), "commandstats").Val(), 0
	for line := range strings.Lines(stats) {
		fmt.Sscanf(line, "cmdstat_wait:calls=%d,", &calls)
	}
	if calls == 0 || calls > creators*each/2 {
		t.Errorf("%d confirmations for %d creations of %d at a time", calls, creators*each, creators)
	}
}

// TestDecision17_ALostConnectionConfirmsNothing: what was answered before its connection was lost exists, and is not known to be durable.
func TestDecision17_ALostConnectionConfirmsNothing(t *testing.T) {
	t.Parallel()
	master := diskless(t)
	r := replica(t, master)
	r.Pause(t)
	rdb := master.Client(t)
	c := conn.NewDurable(rdb, quiet, conn.Policy{Replicas: 1, Within: time.Minute})
	call := confirmed("incr", "n")
	done := make(chan error, 1)
	go func() { done <- c.All(context.WithoutCancel(t.Context()), call) }()
	other := master.Client(t)
	for !strings.Contains(other.Info(t.Context(), "clients").Val(), "blocked_clients:1") {
		time.Sleep(time.Millisecond)
	}
	id := ""
	for line := range strings.Lines(other.ClientList(t.Context()).Val()) {
		if strings.Contains(line, "cmd=wait") {
			id, _, _ = strings.Cut(strings.TrimPrefix(line, "id="), " ")
		}
	}
	if err := other.Do(t.Context(), "client", "kill", "id", id).Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || call.Reply != int64(1) {
		t.Fatalf("it was answered: %v, %v", err, call.Reply)
	}
	if e, ok := errors.AsType[*conn.ShortError](call.Short); !ok || e.Err == nil {
		t.Errorf("short: %v", call.Short)
	}
}

func TestDecision17_LocalSendsNothingMore(t *testing.T) {
	b := newBarrier()
	close(b.open)
	_, plain := private(t, nil)
	plain.AddHook(b)
	c := conn.NewDurable(plain, quiet, conn.Policy{})
	call := confirmed("set", "k", "1")
	if err := c.All(t.Context(), call); err != nil || call.Short != nil {
		t.Fatal(err, call.Short)
	}
	if flights, commands := b.count(); flights != 1 || commands != 1 {
		t.Errorf("%d commands in %d pipelines", commands, flights)
	}
}
