package bench

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/cli"
)

func TestParseMonitored(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]struct {
		name, first string
		client      bool
	}{
		"+1700000000.123456 [0 127.0.0.1:50000] \"PING\"\r\n":                        {"ping", "", true},
		"+1700000000.123456 [0 127.0.0.1:50000] \"get\" \"a key] [0 lua] x\"\r\n":    {"get", "a key] [0 lua] x", true},
		"+1700000000.123456 [0 lua] \"HSET\" \"k\" \"f\" \"v\"\r\n":                  {"hset", "k", false},
		"+1700000000.123456 [15 [::1]:50000] \"evalsha\" \"abc\" \"1\"":              {"evalsha", "abc", true},
		"+1700000000.123456 [0 unix:/run/redis.sock] \"blpop\" \"bell\" \"0.9\"\r\n": {"blpop", "bell", true},
		"+OK\r\n": {},
		"":        {},
	} {
		name, first, client := parseMonitored(line)
		if name != want.name || first != want.first || client != want.client {
			t.Errorf("%q: %q %q %v, want %+v", line, name, first, client, want)
		}
	}
}

// localTarget is a Redis of the test's own.
func localTarget(t *testing.T) (*redistest.Server, cli.Target) {
	t.Helper()
	s := redistest.Local(t)
	target, err := cli.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return s, target
}

func TestMonitorCountsClientsAndNotScripts(t *testing.T) {
	t.Parallel()
	s, _ := localTarget(t)
	rdb := s.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	m, err := newMonitor(ctx, rdb)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	long := strings.Repeat("x", 3<<20) // longer than the monitor's buffer
	script := redis.NewScript(`redis.call('INCR', KEYS[1]); return redis.call('INCR', KEYS[1])`)
	if err := script.Load(ctx, rdb).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the marks of the first must not end the second
		counts, err := m.count(ctx, func() error {
			return errors.Join(rdb.Set(ctx, "k", long, 0).Err(), rdb.Get(ctx, "k").Err(), rdb.Get(ctx, "k").Err(), script.EvalSha(ctx, rdb, []string{"n"}).Err())
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{"set": 1, "get": 2, "evalsha": 1}; total(counts) != 4 || counts["set"] != 1 || counts["get"] != 2 || counts["evalsha"] != 1 {
			t.Errorf("counted %v, want %v", counts, want)
		}
		rdb.Get(ctx, "k") // between two counts
	}
	ended, end := context.WithCancelCause(ctx)
	end(cli.ErrInterrupted)
	if _, err := m.count(ended, func() error { return nil }); err == nil {
		t.Error("counted after the end of its context")
	}
}

func TestMonitorLogsIn(t *testing.T) {
	t.Parallel()
	s, target := localTarget(t)
	if err := s.Client(t).ConfigSet(t.Context(), "requirepass", "pass word").Err(); err != nil {
		t.Fatal(err)
	}
	for password, ok := range map[string]bool{"pass word": true, "wrong": false} {
		target.Password = password
		rdb, err := connect(target)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { rdb.Close() })
		m, err := newMonitor(t.Context(), rdb)
		if (err == nil) != ok {
			t.Errorf("with password %q: %v", password, err)
		}
		if err == nil {
			m.close()
		}
	}
}

// Everything with the run's name in it goes, and nothing else.
func TestRemoveAllLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	s, target := localTarget(t)
	rdb := s.Client(t)
	ctx := t.Context()
	ours, other := newKeyspace(), newKeyspace()
	mine := []string{
		ours.request(), ours.results(), "asynq:{" + ours.queue() + "}:pending", "asynq:{" + ours.space().AsynqQueue("default") + "}:active",
		ours.space().Record("t:1"), ours.space().Meta(), ours.space().Bell("default"), ours.space().Open(0),
	}
	theirs := []string{other.request(), other.space().Record("t:1"), "asynq:{" + other.space().AsynqQueue("default") + "}:active", "else"}
	for _, key := range slices.Concat(mine, theirs) {
		if err := rdb.Set(ctx, key, 1, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	rdb.SAdd(ctx, asynqQueues, ours.queue(), ours.space().AsynqQueue("default"), other.queue())
	round, err := rdb.DBSize(ctx).Result()
	if err != nil {
		t.Fatal(err)
	}
	again, err := connect(target)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := ours.removeRound(ctx, again); err != nil {
		t.Fatal(err)
	}
	if n := rdb.DBSize(ctx).Val(); n != round-4 {
		t.Errorf("%d of %d keys after a round, want those without an ID to stay", n, round)
	}
	if err := ours.removeAll(ctx, again, nil); err != nil {
		t.Fatal(err)
	}
	if left := rdb.Exists(ctx, mine...).Val(); left != 0 {
		t.Errorf("%d of the run's keys are left", left)
	}
	if left := rdb.Exists(ctx, theirs...).Val(); left != int64(len(theirs)) {
		t.Errorf("%d of others' %d keys are left", left, len(theirs))
	}
	if queues := rdb.SMembers(ctx, asynqQueues).Val(); !slices.Equal(queues, []string{other.queue()}) {
		t.Errorf("queues %q", queues)
	}
}
