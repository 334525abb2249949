package integration

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// echo answers its arguments.
var echo = jobs.Define[string, string]("echo")

// noise is text that does not compress to much less.
func noise(n int) string {
	b := make([]byte, n*3/4)
	for i := 0; i+8 <= len(b); i += 8 {
		binary.NativeEndian.PutUint64(b[i:], rand.Uint64())
	}
	return base64.StdEncoding.EncodeToString(b)
}

// keepFull takes what memory is left in a Redis, again and again until stop is called. It returns when there is none for the first time.
func keepFull(t *testing.T, rdb *redis.Client) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	filled, ended := make(chan struct{}), make(chan struct{})
	filler := noise(4000)
	go func() {
		defer close(ended)
		first := sync.OnceFunc(func() { close(filled) })
		at, many := 0, 100 // many at a time until it is full: on a busy machine each trip takes long
		for ctx.Err() == nil {
			pipe := rdb.Pipeline()
			for range many {
				pipe.Set(ctx, fmt.Sprint("filler:", at), filler, 0)
				at++
			}
			if _, err := pipe.Exec(ctx); err != nil {
				many = 1
				first()
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
				}
			}
		}
	}()
	select {
	case <-filled:
	case <-time.After(patience):
		t.Fatal("Redis does not get full")
	}
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	t.Cleanup(stop)
	return stop
}

// TestDecision18_AFullRedisDrains fills a Redis of 64 MiB until creations are refused, takes the rest of its memory with other data, and
// then starts workers alone: all that is recorded ends, also what is retried, delayed, cancelled, or in the hands of a worker that is
// killed, with results of 10 KB, while Redis refuses every plain write.
func TestDecision18_AFullRedisDrains(t *testing.T) {
	t.Parallel()
	const limit = "64mb"
	s := redistest.Local(t, "--maxmemory", limit, "--maxmemory-policy", "noeviction")
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})

	group, err := jobs.Gather(t.Context(), c, echo.Calls(slices.Repeat([]string{noise(10_000)}, 300)...))
	if err != nil {
		t.Fatal(err)
	}
	var odd []*jobs.Task[json.RawMessage]
	for _, call := range []jobs.Call[json.RawMessage]{
		sim.Call(steps(`{"fail_until_attempt":3},{"return":"retried"}`), jobs.Retries(3), jobs.Backoff(time.Millisecond, time.Second)),
		sim.Call(steps(`{"return":"delayed"}`), jobs.Delay(10*time.Second)),
		sim.Call(steps(`{"sleep_ms":3000},{"return":"killed"}`)),
		sim.Call(steps(`{"sleep_ms":3000},{"return":"killed"}`)),
	} {
		task, err := jobs.CreateTask(t.Context(), c, call)
		if err != nil {
			t.Fatal(err)
		}
		odd = append(odd, task)
	}
	doomed, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"sleep_ms":600000}`)))
	if err != nil {
		t.Fatal(err)
	}
	var tasks []*jobs.Task[string]
	var want []string
	// A large creation is refused where a small one still goes in: what is on its way takes memory, too.
	for _, size := range []struct{ tasks, bytes int }{{50, 10_000}, {1, 10_000}, {1, 10}} {
		for err = nil; err == nil; {
			args := make([]string, size.tasks)
			for i := range args {
				args[i] = noise(size.bytes)
			}
			var made []*jobs.Task[string]
			made, err = jobs.CreateTasks(t.Context(), c, echo.Calls(args...))
			for i, task := range made {
				if task != nil {
					tasks, want = append(tasks, task), append(want, args[i])
				}
			}
		}
	}
	if r, ok := errors.AsType[*jobs.RejectedError](err); !ok || !errors.Is(err, jobs.ErrBackpressure) || !strings.Contains(r.Why, "maxmemory") {
		t.Fatalf("refused as %v", err)
	}
	t.Logf("refused after %d tasks", len(tasks))
	if len(tasks) < 1000 {
		t.Fatal("that is too early")
	}
	before := rdb.DBSize(t.Context()).Val()
	produce(t, s, 6, "create", "echo", `"x"`)
	produceFrom(t, s, 6, strings.Repeat("\"x\"\n", 1000), "gather", "echo", "-")
	if n := rdb.DBSize(t.Context()).Val(); n != before {
		t.Errorf("%d keys, %d before what was refused", n, before)
	}

	free := keepFull(t, rdb)
	victim := worker(t, s, "--concurrency", "8")
	eventually(t, "something held by the victim", func() bool { return inspect(t, odd[2]).State == jobs.StateRunning })
	worker(t, s, "--concurrency", "8")
	victim.kill(t)
	if _, err := jobs.Cancel(t.Context(), doomed, "full"); err != nil {
		t.Error(err)
	}

	other := client(t, s, jobs.ClientConfig{}) // that has created nothing
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	got, err := await.All(ctx, jobs.GroupByID[string](other, group.ID()))
	if err != nil || len(got) != 300 {
		t.Fatalf("the group: %d results, %v", len(got), err)
	}
	handles := make([]jobs.Awaitable[string], len(tasks))
	for i, task := range tasks {
		handles[i] = jobs.TaskByID[string](other, task.ID())
	}
	if got, err = await.All(ctx, await.Of(handles...)); err != nil || !slices.Equal(got, want) {
		t.Fatalf("%d results of %d, %v", len(got), len(want), err)
	}
	for i, word := range []string{"retried", "delayed", "killed", "killed"} {
		if v, err := await.Result(ctx, odd[i]); err != nil || string(v) != `"`+word+`"` {
			t.Errorf("%s: %s, %v", word, v, err)
		}
	}
	if _, err := await.Result(ctx, doomed); !errors.Is(err, jobs.ErrCancelled) {
		t.Errorf("what was cancelled: %v", err)
	}
	if err := rdb.Set(ctx, "one", noise(10_000), 0).Err(); err == nil || !strings.HasPrefix(err.Error(), "OOM ") {
		t.Errorf("Redis was not full, so this test proves nothing: %v", err)
	}
	free()
	if n := rdb.LLen(ctx, "asynq:{gatherq:default}:pending").Val(); n != 0 {
		t.Errorf("%d deliveries are left", n)
	}
	if v := rdb.ConfigGet(ctx, "maxmemory").Val()["maxmemory"]; v != fmt.Sprint(64<<20) {
		t.Errorf("maxmemory became %s", v)
	}

	// With room again a client that was refused creates, without being told.
	if err := rdb.Del(ctx, rdb.Keys(ctx, "filler:*").Val()...).Err(); err != nil {
		t.Fatal(err)
	}
	if err := rdb.ConfigSet(ctx, "maxmemory", "256mb").Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a creation", func() bool {
		_, err := jobs.CreateTask(ctx, c, echo.Call("x"))
		return err == nil
	})
	healthy(t, s)
}
