package integration

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// lossLimit is decision 23's, from the loss to the end of what was lost, or to its run.
const lossLimit = 30 * time.Second

// losses are tasks and groups of which something got lost.
type losses struct {
	*testing.T
	rdb    *redis.Client
	asynq  *asynq.Inspector
	client *jobs.Client
	at     map[string]time.Time // of the losses, by Redis' clock
}

// lose loses something, and notes when.
func (l *losses) lose(what string, err error) {
	l.Helper()
	l.ok(err)
	l.at[what] = l.now()
}

func (l *losses) ok(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *losses) create(queue, format string, args ...any) *jobs.Task[json.RawMessage] {
	l.Helper()
	task, err := jobs.CreateTask(l.Context(), l.client, sim.Call(steps(format, args...), jobs.Queue(queue)))
	l.ok(err)
	return task
}

// message is what lies in a queue and names a task or group.
func (l *losses) message(queue string, of jobs.Ref) (found string) {
	l.Helper()
	eventually(l.T, "the delivery of "+of.ID(), func() bool {
		for _, m := range l.rdb.LRange(l.Context(), "asynq:{gatherq:"+queue+"}:pending", 0, -1).Val() {
			if info, err := l.asynq.GetTaskInfo("gatherq:"+queue, m); err == nil && strings.Contains(string(info.Payload), `"`+of.ID()+`"`) {
				found = m
			}
		}
		return found != ""
	})
	return found
}

func (l *losses) now() time.Time {
	l.Helper()
	at, err := l.rdb.Time(l.Context()).Result()
	l.ok(err)
	return at
}

// TestDecision23_LostWorkIsFound loses one thing of each kind behind the back of a fleet of processes with their defaults. Nobody awaits
// any of it: the test only looks.
func TestDecision23_LostWorkIsFound(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t)
	l := &losses{T: t, rdb: s.Client(t), client: client(t, s, jobs.ClientConfig{}), at: map[string]time.Time{}}
	l.asynq = asynq.NewInspectorFromRedisClient(l.rdb)
	var fleet []*program
	for range 3 {
		fleet = append(fleet, worker(t, s, "--concurrency", "8", "--queues", "still=1,calm=1,eaten=1"))
	}
	ctx := t.Context()
	for _, queue := range []string{"still", "calm", "eaten"} { // asynq's tools know them from here on
		warm := l.create(queue, `{"return":1}`)
		eventually(t, "the first end", func() bool { return inspect(t, warm).State == jobs.StateSucceeded })
	}

	// A worker that holds something and that nobody remembers: first, since what it has mended itself dies with it.
	held := l.create("calm", `{"incr":"held"},{"sleep_ms":4000},{"return":"held"}`)
	eventually(t, "it runs", func() bool { return inspect(t, held).State == jobs.StateRunning })
	holder := inspect(t, held).Worker
	i := slices.IndexFunc(fleet, func(p *program) bool { return p.of(holder) })
	fleet[i].kill(t)
	fleet = slices.Delete(fleet, i, i+1)
	l.ok(l.rdb.Del(ctx, "gq:{gatherq}:w:"+holder).Err())
	l.lose("the task of a forgotten worker", l.rdb.ZRem(ctx, "gq:{gatherq}:workers", holder).Err())

	// Deliveries, in a queue that stands still meanwhile.
	l.ok(l.asynq.PauseQueue("gatherq:still"))
	deleted, removed, archived := l.create("still", `{"incr":"deleted"}`), l.create("still", `{"incr":"removed"}`), l.create("still", `{"incr":"archived"}`)
	var calls []jobs.Call[json.RawMessage]
	for i := range 50 {
		calls = append(calls, sim.Call(steps(`{"incr":"members"},{"return":%d}`, i), jobs.Queue("still")))
	}
	ticketless, err := jobs.Gather(ctx, l.client, calls)
	l.ok(err)
	forbidden, err := jobs.Gather(ctx, l.client, []jobs.Call[json.RawMessage]{sim.Call(steps(`{"incr":"archived"}`), jobs.Queue("still"))})
	l.ok(err)
	l.lose("a deleted delivery", l.asynq.DeleteTask("gatherq:still", l.message("still", deleted)))
	l.lose("one taken out of its list", l.rdb.LRem(ctx, "asynq:{gatherq:still}:pending", 1, l.message("still", removed)).Err())
	l.lose("one archived by hand", l.asynq.ArchiveTask("gatherq:still", l.message("still", archived)))
	l.lose("a ticket archived by hand", l.asynq.ArchiveTask("gatherq:still", l.message("still", forbidden)))
	_, err = l.asynq.DeleteAllPendingTasks("gatherq:still")
	l.lose("a group whose tickets vanished", err)

	elsewhere := l.create("calm", `{"sleep_ms":4000},{"return":"elsewhere"}`)
	unlinked, err := jobs.Gather(ctx, l.client, []*jobs.Task[json.RawMessage]{elsewhere})
	l.ok(err)
	l.lose("a member that was not linked", l.rdb.HDel(ctx, "gq:{gatherq:0}:r:"+elsewhere.ID(), "l").Err())

	// A server of asynq's that somebody let loose on a queue of ours.
	foreign := asynq.NewServerFromRedisClient(s.Client(t), asynq.Config{
		Queues: map[string]int{"gatherq:eaten": 1}, TaskCheckInterval: time.Millisecond, LogLevel: asynq.FatalLevel,
	})
	l.ok(foreign.Start(asynq.NewServeMux()))
	var eaten []*jobs.Task[json.RawMessage]
	eventually(t, "one of ours is eaten", func() bool {
		tasks, err := jobs.CreateTasks(ctx, l.client, slices.Repeat([]jobs.Call[json.RawMessage]{sim.Call(steps(`{"return":1}`), jobs.Queue("eaten"))}, 50))
		l.ok(err)
		eaten = append(eaten, tasks...)
		return l.rdb.ZCard(ctx, "asynq:{gatherq:eaten}:retry").Val() > 0
	})
	l.lose("a delivery that a foreign took", nil)
	foreign.Shutdown()
	l.ok(l.asynq.UnpauseQueue("gatherq:still"))
	is := func(ref jobs.Ref, state jobs.State) func() bool {
		return func() bool { return inspect(t, ref).State == state }
	}
	open := map[string]func() bool{
		"a deleted delivery":             is(deleted, jobs.StateSucceeded),
		"one taken out of its list":      is(removed, jobs.StateSucceeded),
		"one archived by hand":           is(archived, jobs.StateCancelled),
		"a ticket archived by hand":      is(forbidden, jobs.StateCancelled),
		"a group whose tickets vanished": is(ticketless, jobs.StateSucceeded),
		"a member that was not linked":   is(unlinked, jobs.StateSucceeded),
		"the task of a forgotten worker": is(held, jobs.StateSucceeded),
		"a delivery that a foreign took": func() bool {
			for len(eaten) > 0 && is(eaten[0], jobs.StateSucceeded)() {
				eaten = eaten[1:]
			}
			return len(eaten) == 0
		},
	}
	end := time.After(2 * lossLimit) // whoever is late is seen to be, and by how much
	for tick := time.Tick(50 * time.Millisecond); len(open) > 0; {
		select {
		case <-tick:
		case <-end:
			t.Fatalf("not mended: %v", slices.Collect(maps.Keys(open)))
		}
		for what, done := range open {
			if done() {
				delete(open, what)
				took := l.now().Sub(l.at[what])
				figure(t, "lost-work", map[string]any{"what": what, "ended_ms": millis(took)})
				if took > lossLimit {
					t.Errorf("%s: ended %v after the loss", what, took)
				}
			}
		}
	}
	for _, ref := range []*jobs.Task[json.RawMessage]{deleted, removed, archived} {
		if in := inspect(t, ref); in.Attempt != 1 || in.Crashes != 0 {
			t.Errorf("charged: %+v", in)
		}
	}
	if in := inspect(t, archived); in.CancelReason != "archived in asynq" {
		t.Errorf("%+v", in)
	}
	for key, want := range map[string]int{"deleted": 1, "removed": 1, "archived": 0, "members": 50, "held": 2} {
		if n := simKey(t, l.rdb, key); n != want {
			t.Errorf("%s ran %d times, want %d", key, n, want)
		}
	}
	mended := map[string]float64{}
	for kind, name := range map[string]string{
		"delivery_vanished": "vanished", "delivery_archived": "archived", "delivery_astray": "taken by a foreign",
		"link_missing": "unlinked", "end_untold": "unlinked", // whether it ends before it is looked at
		"holder_unlisted": "forgotten", "dead_worker": "dead",
	} {
		mended[name] += repaired(t, fleet, kind)
	}
	for name, least := range map[string]float64{"vanished": 3, "archived": 2, "taken by a foreign": 1, "unlinked": 1, "forgotten": 1, "dead": 1} {
		if mended[name] < least {
			t.Errorf("%s: %v repairs, want %v", name, mended[name], least)
		}
	}
	t.Logf("repairs: %v", mended)
	// What somebody has archived stays where it was put, and the doctor says so until it is deleted there.
	if n, err := l.asynq.DeleteAllArchivedTasks("gatherq:still"); err != nil || n != 2 {
		t.Errorf("%d deliveries are archived, %v", n, err)
	}
	healthy(t, s)
}
