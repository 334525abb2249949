package integration

import (
	"context"
	"errors"
	"fmt"
	"regexp"
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

// endings creates a task or a group of every kind of end and waits for all of them. Their IDs begin with prefix.
func endings(t *testing.T, c *jobs.Client, prefix string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	short := jobs.Retention(time.Second)
	single := func(name, mode string, opts ...jobs.CallOption) *jobs.Task[string] {
		task, err := jobs.CreateTask(ctx, c, ending.Call(mode, append(opts, jobs.ID(prefix+name), short)...))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return task
	}
	many := func(name string, modes ...string) *jobs.Group[string] {
		g, err := jobs.Gather(ctx, c, ending.Calls(modes...), jobs.ID(prefix+name), short)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return g
	}

	cancelled := single("cancelled", "hang")
	pending := single("cancelled-pending", "value", jobs.Queue("unserved"))
	delayed := single("cancelled-delayed", "value", jobs.Delay(time.Hour))
	waiting := []jobs.Awaitable[string]{
		single("value", "value"),
		single("error", "error"),
		single("retried", "error", jobs.Retries(1), jobs.Backoff(time.Millisecond, time.Millisecond)),
		single("panic", "panic"),
		single("timeout", "hang", jobs.Timeout(20*time.Millisecond)),
		single("late", "value", jobs.Delay(30*time.Millisecond)),
		single("expired-before-start", "value", jobs.Queue("unserved"), jobs.MaxPending(30*time.Millisecond)),
		cancelled, pending, delayed,
	}
	for _, task := range []*jobs.Task[string]{cancelled, pending, delayed} {
		if accepted, err := jobs.Cancel(ctx, task, "no longer wanted"); err != nil || !accepted {
			t.Fatalf("cancel of %s: %v, %v", task.ID(), accepted, err)
		}
	}
	for _, task := range waiting {
		if _, err := await.Outcome(ctx, task); err != nil && !over(err) {
			t.Fatalf("await of %s: %v", task.ID(), err)
		}
	}
	elsewhere := single("elsewhere", "value")
	nested, err := jobs.Gather(ctx, c, []jobs.Member[string]{elsewhere, elsewhere, ending.Call("value")}, jobs.ID(prefix+"links"), short)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []*jobs.Group[string]{
		many("group"), many("group-values", "value", "value", "value"), many("group-error", "value", "error", "panic"), nested,
	} {
		if _, err := await.Settled(ctx, g); err != nil && !over(err) {
			t.Fatalf("await of %s: %v", g.ID(), err)
		}
	}
}

// over reports whether an ID is not known any more: its second of retention, and the one after, may be over when it is looked at. It is
// lost where the same await had seen it open.
func over(err error) bool {
	return isKind(err, jobs.ErrExpired) || isKind(err, jobs.ErrUnknown) || isKind(err, jobs.ErrLost)
}

var ending = jobs.Define[string, string]("ending")

// endingWorker runs the tasks of endings, in this process.
func endingWorker(t *testing.T, c *jobs.Client) { serve(t, newEndingWorker(t, c, "default")) }

func newEndingWorker(t *testing.T, c *jobs.Client, queue string) *jobs.Worker {
	t.Helper()
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Concurrency: 8, Queues: map[string]int{queue: 1}})
	if err != nil {
		t.Fatal(err)
	}
	jobs.Handle(w, ending, func(ctx context.Context, mode string) (string, error) {
		switch mode {
		case "error":
			return "", errors.New("it went wrong")
		case "panic":
			panic("it went very wrong")
		case "hang":
			<-ctx.Done()
			return "", context.Cause(ctx)
		}
		return "done", nil
	})
	return w
}

// serveLate serves the queue that had no worker until nothing is in it: what waits there are deliveries of tasks that have ended.
func serveLate(t *testing.T, c *jobs.Client, rdb *redis.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- newEndingWorker(t, c, "unserved").Run(ctx) }()
	eventually(t, "empty queue", func() bool {
		return rdb.LLen(t.Context(), "asynq:{gatherq:unserved}:pending").Val() == 0 && rdb.LLen(t.Context(), "asynq:{gatherq:unserved}:active").Val() == 0
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDecision08_RedisIsAsEmptyAsBefore(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		c := client(t, s, jobs.ClientConfig{})
		rdb := s.Client(t)
		endingWorker(t, c)

		endings(t, c, "warm-")
		serveLate(t, c, rdb)
		gone(t, rdb, "warm-", func() bool { return len(holders(t, rdb, "warm-")) == 0 })
		before := size(t, rdb)

		const rounds = 35 // of 15 tasks and groups
		for i := range rounds {
			endings(t, c, fmt.Sprintf("mark-%d-", i))
		}
		if len(holders(t, rdb, "mark-")) == 0 {
			t.Fatal("no key holds an ID of what has just ended: this test sees nothing")
		}
		serveLate(t, c, rdb)
		gone(t, rdb, "mark-", func() bool { return size(t, rdb) <= before && len(holders(t, rdb, "mark-")) == 0 })
	})
}

// gone waits for twice the retention of a second and ten more, and a little for all the tests that run at once.
func gone(t *testing.T, rdb *redis.Client, mark string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); pause(t, 200*time.Millisecond) {
		if time.Now().After(end) {
			for _, key := range holders(t, rdb, mark) {
				t.Logf("%s: %.1000v", key, append(rdb.SMembers(t.Context(), key).Val(), rdb.HKeys(t.Context(), key).Val()...))
			}
			t.Fatalf("%d keys: %q; with an ID: %q", size(t, rdb), allKeys(t, rdb), holders(t, rdb, mark))
		}
	}
}

// pause lets Redis' clock go on.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

// size returns how many keys there are, without the counters that asynq begins anew each midnight.
func size(t *testing.T, rdb *redis.Client) int {
	t.Helper()
	return len(slices.DeleteFunc(allKeys(t, rdb), daily.MatchString))
}

var daily = regexp.MustCompile(`^asynq:\{.*\}:(processed|failed):\d{4}-\d\d-\d\d$`)

func allKeys(t *testing.T, rdb *redis.Client) (keys []string) {
	t.Helper()
	iter := rdb.Scan(t.Context(), 0, "*", 1000).Iterator()
	for iter.Next(t.Context()) {
		keys = append(keys, iter.Val())
	}
	if err := iter.Err(); err != nil {
		t.Fatal(err)
	}
	return keys
}

// holders returns the keys that hold a text, in their name or in what they hold.
func holders(t *testing.T, rdb *redis.Client, text string) (keys []string) {
	t.Helper()
	ctx := t.Context()
	for _, key := range allKeys(t, rdb) {
		var held []string
		kind := rdb.Type(ctx, key).Val()
		switch kind {
		case "string":
			held = []string{rdb.Get(ctx, key).Val()}
		case "hash":
			for field, value := range rdb.HGetAll(ctx, key).Val() {
				held = append(held, field, value)
			}
		case "zset":
			held = rdb.ZRange(ctx, key, 0, -1).Val()
		case "set":
			held = rdb.SMembers(ctx, key).Val()
		case "list":
			held = rdb.LRange(ctx, key, 0, -1).Val()
		case "none": // it went away meanwhile
		default:
			t.Fatalf("%s is a %s, which this test cannot look into", key, kind)
		}
		if strings.Contains(key, text) || strings.Contains(strings.Join(held, "\n"), text) {
			keys = append(keys, key)
		}
	}
	return keys
}

// Results of members that ended long before their group's barrier are kept until then.
func TestDecision08_RetentionOfAGroupCountsFromItsBarrier(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		worker(t, s)
		in := `{"steps":[{"sleep_ms":1},{"return":"early"}]}` + "\n" + `{"steps":[{"sleep_ms":6000},{"return":"late"}]}`
		if got := produceFrom(t, s, 0, in, "gather", "sim", "-", "--await", "--retention", "1s"); got != "\"early\"\n\"late\"" {
			t.Errorf("the gather printed %q", got)
		}
	})
}

// However long the workers are off, open work stays: every key that has a time to live is taken away before they come.
func TestDecision08_OpenWorkHasNoTimeToLive(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		c := client(t, s, jobs.ClientConfig{Retention: 4 * time.Second}) // less than the pauses below
		rdb := s.Client(t)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()

		task, err := jobs.CreateTask(ctx, c, ending.Call("value"))
		if err != nil {
			t.Fatal(err)
		}
		retried, err := jobs.CreateTask(ctx, c, ending.Call("error", jobs.Retries(2), jobs.Backoff(time.Millisecond, time.Millisecond)))
		if err != nil {
			t.Fatal(err)
		}
		late, err := jobs.CreateTask(ctx, c, ending.Call("value", jobs.Delay(100*time.Millisecond)))
		if err != nil {
			t.Fatal(err)
		}
		group, err := jobs.Gather(ctx, c, ending.Calls(make([]string, 300)...))
		if err != nil {
			t.Fatal(err)
		}
		linked, err := jobs.Gather(ctx, c, []jobs.Member[string]{task, late, ending.Call("")})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			for _, key := range allKeys(t, rdb) {
				if rdb.PTTL(ctx, key).Val() > 0 {
					rdb.Del(ctx, key)
				}
			}
			pause(t, time.Second)
		}

		// All are awaited before any ends: what ended is gone after its retention, also while an await before it takes its time.
		var all sync.WaitGroup
		for _, a := range []jobs.Awaitable[string]{task, late} {
			all.Go(func() {
				if got, err := await.Result(ctx, a); got != "done" || err != nil {
					t.Errorf("%s: %q, %v", a.ID(), got, err)
				}
			})
		}
		all.Go(func() {
			out, err := await.Outcome(ctx, retried)
			if err != nil || out.State != jobs.StateFailed || out.Attempt != 3 {
				t.Errorf("retried: %+v, %v", out, err)
			}
		})
		all.Go(func() {
			if got, err := await.All(ctx, group); len(got) != 300 || err != nil {
				t.Errorf("the group: %d values, %v", len(got), err)
			}
		})
		all.Go(func() {
			if got, err := await.All(ctx, linked); len(got) != 3 || err != nil {
				t.Errorf("the group of links: %d values, %v", len(got), err)
			}
		})
		within(t, patience, "awaits in flight", func() bool { return c.Stats().AwaitsOpen >= 5 })
		endingWorker(t, c)
		all.Wait()
	})
}
