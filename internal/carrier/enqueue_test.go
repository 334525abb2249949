package carrier

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// unreachable is a client that fails the test when it is used.
func unreachable(t *testing.T) *redis.Client {
	c := redis.NewClient(&redis.Options{Dialer: func(context.Context, string, string) (net.Conn, error) {
		t.Error("a connection was made")
		return nil, errors.New("no")
	}})
	t.Cleanup(func() { c.Close() })
	return c
}

// The contract with asynq's client: it enqueues by one script with two keys and three arguments, message first. Should this
// fail after an update of asynq, Enqueue has fallen back to asynq's own sending, in more round trips.
func TestContractAsynqClientEnqueuesByOneScript(t *testing.T) {
	c := carrierOf(unreachable(t))
	if c.client == nil {
		t.Fatal("asynq's client does not build its commands as it did")
	}
	m, err := c.build("q", []byte("payload"))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.keys) != 2 || len(m.args) != 3 {
		t.Fatalf("keys %q, %d arguments", m.keys, len(m.args))
	}
	id, ok := messageID(m.args[0].([]byte))
	if !ok || id != m.args[1] {
		t.Errorf("the message's ID is %q (%v), the script's %v", id, ok, m.args[1])
	}
	if m.keys[0] != "asynq:{n:q}:t:"+id || m.keys[1] != "asynq:{n:q}:pending" {
		t.Errorf("keys %q", m.keys)
	}
	if !strings.Contains(m.src, `"LPUSH", KEYS[2]`) || strings.Contains(m.src, "ZADD") {
		t.Errorf("the script is another one:\n%s", m.src)
	}
	p := c.unpublished("q")
	if p == nil || len(p.args) != 3 || p.args[0] != "sadd" || p.args[1] != "asynq:queues" || p.args[2] != "n:q" {
		t.Errorf("publication %+v", p)
	}
	other, err := c.build("q", []byte("payload"))
	if err != nil || other.args[1] == id {
		t.Errorf("the second message has the ID of the first: %v, %v", other, err)
	}
}

func TestEnqueueIsOnePipelineRecordsFirst(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb, log := dial(), &sent{}
		rdb.AddHook(log)
		c := carrierOf(rdb)
		if err := c.Enqueue(t.Context(), tasks("warm", 1), conn.NewCommand("set", "k", "0")); err != nil {
			t.Fatal(err)
		}
		log.take()
		before := conn.NewCommand("set", "k", "1")
		for _, want := range []string{"set sadd evalsha evalsha evalsha", "set evalsha evalsha evalsha"} {
			if err := c.Enqueue(t.Context(), tasks("q", 2), before); err != nil {
				t.Fatal(err)
			}
			if pipes := log.take(); len(pipes) != 1 || names(pipes[0]) != want {
				t.Errorf("sent %d pipelines, the first %q, want one of %q", len(pipes), names(pipes[0]), want)
			}
		}
		if before.Reply != "OK" || before.Err != nil {
			t.Errorf("before: %v, %v", before.Reply, before.Err)
		}
		if n := rdb.LLen(t.Context(), "asynq:{n:q}:pending").Val(); n != 4 {
			t.Errorf("%d pending, want 4", n)
		}
		if ok := rdb.SIsMember(t.Context(), "asynq:queues", "n:q").Val(); !ok {
			t.Error("asynq's tools do not know the queue")
		}
		if n := rdb.Exists(t.Context(), c.keys.Bell("q")).Val(); n != 0 {
			t.Error("it rang for nobody")
		}
	})
}

// A script that Redis lost is sent again with all that was not answered. The message must not have been executed meanwhile.
func TestEnqueueNeverOvertakesTheRecord(t *testing.T) {
	record1 := conn.NewForeignScript("test.record", `redis.call('SET', 'seen', redis.call('LLEN', KEYS[1])) return 1`)
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb := dial()
		c := carrierOf(rdb)
		pending := "asynq:{n:q}:pending"
		for round := range 3 {
			rdb.Del(t.Context(), pending)
			if round > 0 {
				rdb.ScriptFlush(t.Context())
			}
			// Somebody else's enqueue, so that Redis knows asynq's script and the bell's, and not the record's.
			if err := c.Enqueue(t.Context(), tasks("other", 1)); err != nil {
				t.Fatal(err)
			}
			if err := c.Enqueue(t.Context(), tasks("q", 3), &conn.Call{Script: record1, Keys: []string{pending}}); err != nil {
				t.Fatal(err)
			}
			if n := rdb.Get(t.Context(), "seen").Val(); n != "0" {
				t.Errorf("round %d: %s messages came before the record", round, n)
			}
			if n := rdb.LLen(t.Context(), pending).Val(); n != 3 {
				t.Errorf("round %d: %d messages", round, n)
			}
		}
	})
}

// refused is a Redis that refuses the first command of the next pipeline, and executes the others.
type refused struct{ next atomic.Bool }

func (*refused) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*refused) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (r *refused) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if cmds[0].Name() != "evalsha" || !r.next.CompareAndSwap(true, false) {
			return next(ctx, cmds)
		}
		cmds[0].SetErr(errors.New("BUSY Redis is busy running a script"))
		return next(ctx, cmds[1:])
	}
}

// A record that Redis refuses at first comes behind its message, which a worker may have dropped by then: there is another message.
func TestDecision19_ARecordThatComesLateHasAnotherMessage(t *testing.T) {
	record1 := conn.NewForeignScript("test.record", `redis.call('SET', 'seen', redis.call('LLEN', KEYS[1])) return 1`)
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb, hook := dial(), &refused{}
		rdb.AddHook(hook)
		c := carrierOf(rdb)
		pending := "asynq:{n:q}:pending"
		for round := range 2 { // the first one so that Redis knows the scripts
			rdb.Del(t.Context(), pending)
			hook.next.Store(round == 1)
			if err := c.Enqueue(t.Context(), tasks("q", 1), &conn.Call{Script: record1, Keys: []string{pending}}); err != nil {
				t.Fatal(err)
			}
		}
		if seen, n := rdb.Get(t.Context(), "seen").Val(), rdb.LLen(t.Context(), pending).Val(); seen != "1" || n != 2 {
			t.Errorf("%s messages before the record, %d in all, want 1 and 2", seen, n)
		}
	})
}

func TestEnqueueErrors(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb := dial()
		c := carrierOf(rdb)
		rdb.Set(t.Context(), "asynq:{n:q}:pending", "no list", 0)
		if err := c.Enqueue(t.Context(), tasks("q", 1)); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") || !strings.Contains(err.Error(), "q") {
			t.Errorf("a refused message: %v", err)
		}
		rdb.Set(t.Context(), c.keys.Parked("r"), "no set", 0)
		before := conn.NewCommand("incr", "asynq:{n:q}:pending")
		if err := c.Enqueue(t.Context(), tasks("r", 1), before); err != nil || before.Err == nil {
			t.Errorf("a bell that does not work and a refused call of the caller's: %v, %v", err, before.Err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var failure *conn.Error
		if err := c.Enqueue(ctx, tasks("q", 1)); !errors.As(err, &failure) || failure.Doubt || !errors.Is(err, context.Canceled) {
			t.Errorf("an ended context: %v", err)
		}
	})
}

// An asynq that this package does not know sends for itself.
func TestEnqueueWithAnotherAsynq(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb := dial()
		c := carrierOf(rdb)
		c.client = nil
		before := conn.NewCommand("set", "k", "1")
		if err := c.Enqueue(t.Context(), tasks("q", 3), before); err != nil || before.Reply != "OK" {
			t.Fatal(err, before.Reply)
		}
		if n := rdb.LLen(t.Context(), "asynq:{n:q}:pending").Val(); n != 3 {
			t.Errorf("%d pending, want 3", n)
		}
	})
}

func TestHandOverMarks(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		cn := conn.New(dial(), quiet)
		k := keys.New("n", 1)
		c, store := New(cn, k, nobody), record.NewStore(cn, k)
		if err := c.HandOver(t.Context(), store, nil); err != nil {
			t.Fatal(err)
		}
		created, err := store.Create(t.Context(), record.NewTask{ID: "a", Type: "t", Queue: "q", Args: record.Wrap([]byte("1")), Digest: make([]byte, 16)})
		if err != nil {
			t.Fatal(err)
		}
		h := record.HandOver{Queue: "q", Delivery: record.Delivery{Refs: []record.Ref{{ID: "a", Number: created[0].Number}}}}
		if err := c.HandOver(t.Context(), store, []record.HandOver{h}); err != nil {
			t.Fatal(err)
		}
		if mark := cn.Redis().HGet(t.Context(), k.Record("a"), "mk").Val(); mark == "" || cn.Redis().HGet(t.Context(), "asynq:{n:q}:t:"+mark, "state").Val() != "pending" {
			t.Errorf("the mark is %q", mark)
		}
	})
}

func FuzzMessageID(f *testing.F) {
	c := New(conn.New(redis.NewClient(&redis.Options{}), quiet), keys.New("n", 1), nobody)
	m, err := c.build("q", []byte("payload"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.args[0].([]byte))
	f.Add([]byte{0x1a, 0x01, 'x'})
	f.Add([]byte{0x1a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Add([]byte{0x7a, 0x03, 0x0a, 0x01, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		id, ok := messageID(b)
		if ok == (id == "") && ok {
			t.Error("an empty ID was accepted")
		}
		if ok && !strings.Contains(string(b), id) {
			t.Errorf("%q is not in the message", id)
		}
	})
}
