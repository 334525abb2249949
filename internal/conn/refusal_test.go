package conn_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/conn"
)

// refusals are what Redis says while it is not ready; nothing of the command was executed.
var refusals = []string{
	"LOADING Redis is loading the dataset in memory",
	"READONLY You can't write against a read only replica.",
	"READONLY You can't write against a read only replica. script: 60b5, on @user_script:1.",
	"CLUSTERDOWN The cluster is down",
	"TRYAGAIN Multiple keys request during rehashing of slot",
	"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
	"NOREPLICAS Not enough good replicas to write.",
	"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
	"BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
	"ERR max number of clients reached",
	"MOVED 1 127.0.0.1:1",
}

// reply is an error reply of Redis.
type reply string

func (r reply) Error() string { return string(r) }
func (reply) RedisError()     {}

// refuser answers in place of Redis.
type refuser struct {
	answer func(n int64, cmd redis.Cmder) error // nil: Redis does
	n      atomic.Int64
}

func (*refuser) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *refuser) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if name := cmd.Name(); name == "hello" || name == "client" {
			return next(ctx, cmd)
		}
		if err := r.answer(r.n.Add(1), cmd); err != nil {
			cmd.SetErr(err)
			return err
		}
		return next(ctx, cmd)
	}
}

func (*refuser) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// A Redis that is not ready is asked again, less and less often, for 30 s or until the context ends. Nothing was executed then, unless
// an answer was lost before.
func TestDecision19_RefusalsAreAskedAgain(t *testing.T) {
	for _, text := range refusals {
		synctest.Test(t, func(t *testing.T) {
			c, rdb := private(t, nil)
			_ = rdb
			hook := &refuser{answer: func(int64, redis.Cmder) error { return reply(text) }}
			c.Redis().AddHook(hook)
			begin := time.Now()
			call := conn.NewCommand("incr", "n")
			err := c.Do(t.Context(), call)
			var lost *conn.Error
			if took := time.Since(begin); !errors.As(err, &lost) || lost.Doubt || took < conn.Patience || took > conn.Patience+2*time.Second {
				t.Errorf("%s: %v after %v", text, err, took)
			}
			if n := hook.n.Load(); n < 30 || n > 300 {
				t.Errorf("%s: asked %d times in 30 s", text, n)
			}

			hook.n.Store(0)
			hook.answer = func(n int64, _ redis.Cmder) error {
				if n == 1 {
					return io.EOF
				}
				return reply(text)
			}
			if err := c.Do(t.Context(), call); !errors.As(err, &lost) || !lost.Doubt {
				t.Errorf("%s: after a lost answer: %v", text, err)
			}

			ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer stop()
			begin = time.Now()
			if err := c.Do(ctx, call); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 100*time.Millisecond {
				t.Errorf("%s: %v after %v", text, err, time.Since(begin))
			}

			hook.n.Store(0)
			hook.answer = func(n int64, _ redis.Cmder) error {
				if n <= 20 {
					return reply(text)
				}
				return nil
			}
			if err := c.Do(t.Context(), call); err != nil || call.Reply != int64(1) {
				t.Errorf("%s: executed once it is ready: %v, %v", text, call.Reply, err)
			}
		})
	}
}

// What is no refusal of this kind is the caller's to see, at once.
func TestDecision19_OtherErrorsAreAnswers(t *testing.T) {
	for _, text := range []string{"ERR wrong number of arguments", "WRONGTYPE x", "NOPERM x", "OOM command not allowed", "BUSYGROUP x"} {
		c, _ := private(t, nil)
		hook := &refuser{answer: func(int64, redis.Cmder) error { return reply(text) }}
		c.Redis().AddHook(hook)
		call := conn.NewCommand("incr", "n")
		if err := c.Do(t.Context(), call); err != nil || call.Err == nil || call.Err.Error() != text || hook.n.Load() != 1 {
			t.Errorf("%s: %v, %v, asked %d times", text, err, call.Err, hook.n.Load())
		}
	}
}

// A Redis that takes no more connections is one of them.
func TestDecision19_TooManyClients(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t, "--maxclients", "1")
	there, late := s.Client(t), s.Client(t)
	rejected := func() int {
		text, err := there.Info(t.Context(), "stats").Result()
		if err != nil {
			t.Fatal(err)
		}
		_, text, _ = strings.Cut(text, "rejected_connections:")
		n, _ := strconv.Atoi(strings.TrimSpace(strings.SplitN(text, "\n", 2)[0]))
		return n
	}
	rejected() // it has the one connection
	call, done := conn.NewCommand("incr", "n"), make(chan error, 1)
	go func() { done <- conn.New(late, quiet).Do(t.Context(), call) }()
	for rejected() < 3 {
		select {
		case err := <-done:
			t.Fatalf("given up after %d rejections: %v", rejected(), err)
		case <-time.After(time.Millisecond):
		}
	}
	if err := there.ConfigSet(t.Context(), "maxclients", "10").Err(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil || call.Reply != int64(1) {
		t.Errorf("%v, %v", call.Reply, err)
	}
}

// Of many calls some are refused in each flight: the others do not wait until one flight has no refusal to be sent with their text.
func TestDecision19_RefusalsDoNotHideALostScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, rdb := private(t, nil)
		n := 0
		c.Redis().AddHook(&some{refuse: func() bool { n++; return n%3 == 0 }})
		count := conn.NewScript("count", "return redis.call('INCR', P .. ARGV[1])")
		calls := make([]*conn.Call, 100)
		for i := range calls {
			calls[i] = conn.NewCall(count, shard, i)
		}
		begin := time.Now()
		if err := c.Do(t.Context(), calls...); err != nil || time.Since(begin) > 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		for i := range calls {
			if got := rdb.Get(t.Context(), shard+strconv.Itoa(i)).Val(); got != "1" {
				t.Errorf("call %d was executed %q times", i, got)
			}
		}
	})
}

// some refuses some commands of a pipeline.
type some struct{ refuse func() bool }

func (*some) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (*some) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (s *some) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		rest := make([]redis.Cmder, 0, len(cmds))
		for _, cmd := range cmds {
			if name := cmd.Name(); name != "hello" && name != "client" && s.refuse() {
				cmd.SetErr(reply(refusals[0]))
			} else {
				rest = append(rest, cmd)
			}
		}
		return next(ctx, rest)
	}
}

// A master of a cluster is killed. Nobody sends the client to the one that takes its place: it looks for itself, long before go-redis would, which
// looks once a minute.
func TestDecision19_ADeadMasterOfAClusterIsLeft(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, time.Second)
	rdb := s.Universal(t)
	c := conn.New(rdb, quiet)
	slot := int(rdb.ClusterKeySlot(t.Context(), "a").Val())
	if err := c.All(t.Context(), conn.NewCommand("set", "a", "1")); err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Masters(t) {
		if s.Owns(t, m, slot) {
			m.Kill(t)
		}
	}
	for len(s.Masters(t)) < 3 {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal("no replica took over")
		}
	}
	if err := c.All(t.Context(), conn.NewCommand("set", "a", "2")); err != nil { // its own patience is half a minute
		t.Error(err)
	}
}

// That Redis is there and cannot, is no answer that anybody waits for: an await of what a demoted master will never tell must end some day.
func TestDecision16_NotNowIsNoAnswer(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t)
	rdb := s.Client(t)
	c := conn.New(rdb, quiet)
	if err := c.All(t.Context(), conn.NewCommand("set", "a", "1")); err != nil {
		t.Fatal(err)
	}
	if err := rdb.Do(t.Context(), "replicaof", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	before, _ := c.LastAnswer()
	ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer stop()
	var ce *conn.Error
	if err := c.All(ctx, conn.NewCommand("set", "a", "2")); !errors.As(err, &ce) {
		t.Errorf("%v", err)
	}
	if after, _ := c.LastAnswer(); !after.Equal(before) {
		t.Errorf("READONLY counts as an answer")
	}
}
