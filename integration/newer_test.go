package integration

import (
	"context"
	"encoding/json"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/record"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// first wants an outcome of the first attempt, with no crash charged, and of a later delivery than the first.
func first(t *testing.T, out jobs.Outcome[json.RawMessage], err error, value string) {
	t.Helper()
	if err != nil || out.State != jobs.StateSucceeded || string(out.Value) != value || out.Attempt != 1 || out.Delivery < 2 {
		t.Errorf("%+v, %v; want %s in the first attempt", out, err, value)
	}
}

// handedBack waits until a worker that could not run a task has said so in its record, and looks at what it charged.
func handedBack(t *testing.T, rdb *redis.Client, task jobs.Ref) {
	t.Helper()
	eventually(t, task.ID()+" that was handed back", func() bool { return rdb.HExists(t.Context(), "gq:{gatherq:0}:r:"+task.ID(), "u").Val() })
	if in := inspect(t, task); in.State.Final() || in.Attempt != 1 || in.Crashes != 0 {
		t.Errorf("%s was handed back: %+v", task.ID(), in)
	}
}

// In the middle of a deploy an old worker meets what only newer ones can run: it leaves that to them, charges nothing, and goes on with
// the rest.
func TestDecision21_AnOldWorkerLeavesWhatIsNewer(t *testing.T) {
	t.Parallel()
	const old, knows = "--admin=off", "--allow-sim"

	t.Run("a type", func(t *testing.T) {
		t.Parallel()
		s := redistest.Any(t)
		rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
		leaving := start(t, s, "worker", "", old)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		task, err := jobs.CreateTask(ctx, c, sim.Call(steps(`{"incr":"n"},{"return":"$attempt"}`)))
		if err != nil {
			t.Fatal(err)
		}
		group, err := jobs.Gather(ctx, c, sim.Calls(steps(`{"incr":"n"},{"return":"$attempt"}`), steps(`{"incr":"n"},{"return":"$attempt"}`)))
		if err != nil {
			t.Fatal(err)
		}
		handedBack(t, rdb, task)
		for i := range 2 {
			handedBack(t, rdb, group.Member(i))
		}
		if got := produce(t, s, 0, "create", "echo", `"meanwhile"`, "--await"); got != `"meanwhile"` {
			t.Errorf("the old worker runs nothing any more: %s", got)
		}
		worker(t, s)
		// The deploy goes on. While both are there each delivery is anybody's, and they come up to 30 s apart.
		leaving.signal(t, syscall.SIGTERM)
		if code := leaving.wait(t, patience); code != 0 {
			t.Errorf("the old worker ends with %d", code)
		}
		out, err := await.Outcome(ctx, task)
		first(t, out, err, "1")
		outs, err := await.Settled(ctx, group)
		if err != nil || len(outs) != 2 {
			t.Fatal(outs, err)
		}
		for _, out := range outs {
			first(t, out, nil, "1")
		}
		if n := simKey(t, rdb, "n"); n != 3 {
			t.Errorf("3 tasks ran %d times", n)
		}
		healthy(t, s)
	})

	// No newer version is there to write or read it: the test changes the first byte of the arguments and, in the newer worker's place,
	// changes it back.
	t.Run("an envelope", func(t *testing.T) {
		t.Parallel()
		s := redistest.Any(t)
		rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		task, err := jobs.CreateTask(ctx, c, sim.Call(steps(`{"incr":"n"},{"return":"$attempt"}`)))
		if err != nil {
			t.Fatal(err)
		}
		key := "gq:{gatherq:0}:r:" + task.ID()
		args := []byte(rdb.HGet(ctx, key, "a").Val())
		newer := append([]byte{200}, args[1:]...)
		if !record.Knows(args) || record.Knows(newer) {
			t.Fatalf("%q is no envelope that this version knows, or it knows %d", args, newer[0])
		}
		rdb.HSet(ctx, key, "a", newer)
		start(t, s, "worker", "", old, knows)
		handedBack(t, rdb, task)
		rdb.HSet(ctx, key, "a", args)
		out, err := await.Outcome(ctx, task)
		first(t, out, err, "1")
		if n := simKey(t, rdb, "n"); n != 1 {
			t.Errorf("it ran %d times", n)
		}
		healthy(t, s)
	})

	// As the envelope: a message of a newer version stays asynq's, that offers it again and again, until a newer worker takes it.
	t.Run("a delivery", func(t *testing.T) {
		t.Parallel()
		s := redistest.Any(t)
		rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		task, err := jobs.CreateTask(ctx, c, sim.Call(steps(`{"incr":"n"},{"return":"$attempt"}`)))
		if err != nil {
			t.Fatal(err)
		}
		rewrite := func(is, to string) (refused string) {
			for _, key := range allKeys(t, rdb) {
				if !strings.HasPrefix(key, "asynq:{gatherq:default}:t:") {
					continue
				}
				message := rdb.HGet(ctx, key, "msg").Val()
				if newer := strings.Replace(message, is, to, 1); newer != message {
					rdb.HSet(ctx, key, "msg", newer)
					return key
				}
			}
			t.Fatalf("no message with %s", is)
			return ""
		}
		message := rewrite(`{"v":1,`, `{"v":9,`)
		start(t, s, "worker", "", old, knows)
		eventually(t, "the message among those that asynq offers again", func() bool { return rdb.HGet(ctx, message, "state").Val() == "retry" })
		if in := inspect(t, task); in.State != jobs.StatePending || in.Attempt != 1 || in.Crashes != 0 {
			t.Errorf("with a message that nobody can read it is %+v", in)
		}
		if got := produce(t, s, 0, "create", "echo", `"meanwhile"`, "--await"); got != `"meanwhile"` {
			t.Errorf("the old worker runs nothing any more: %s", got)
		}
		rewrite(`{"v":9,`, `{"v":1,`)
		out, err := await.Outcome(ctx, task)
		if err != nil || string(out.Value) != "1" || out.Attempt != 1 {
			t.Errorf("%+v, %v", out, err)
		}
		if n := simKey(t, rdb, "n"); n != 1 {
			t.Errorf("it ran %d times", n)
		}
		healthy(t, s)
	})
}
