package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// steady is a time-out of a cluster's nodes that no busy machine reaches: nobody is replaced who was not killed.
const steady = 30 * time.Second

// eightQueues are served by the workers of the cluster's tests.
const eightQueues = "q0,q1,q2,q3,q4,q5,q6,q7"

// spread gathers many groups over eight queues; each member says who it is, after a while. Its wait wants every group's values, in order.
func spread(t *testing.T, c *jobs.Client, groups, members int, step string) (all []*jobs.Group[json.RawMessage], wait func()) {
	t.Helper()
	for g := range groups {
		calls := make([]jobs.Call[json.RawMessage], members)
		for i := range calls {
			calls[i] = sim.Call(steps(`%s,{"return":%d}`, step, g*1000+i))
		}
		group, err := jobs.Gather(t.Context(), c, calls, jobs.Queue("q"+strconv.Itoa(g%8)), jobs.ID(fmt.Sprint("spread-", g)))
		if err != nil {
			t.Fatalf("group %d: %v", g, err)
		}
		all = append(all, group)
	}
	return all, func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		var wg sync.WaitGroup
		for g, group := range all {
			wg.Go(func() {
				got, err := await.All(ctx, group)
				if err != nil || len(got) != members {
					t.Errorf("group %d: %d values, %v", g, len(got), err)
					return
				}
				for i, v := range got {
					if string(v) != strconv.Itoa(g*1000+i) {
						t.Errorf("group %d, member %d: %s", g, i, v)
					}
				}
			})
		}
		wg.Wait()
	}
}

// Everything that works on one Redis works on a cluster, by both programs and the library, and its keys lie on all masters.
func TestDecision07_ACluster(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, steady)
	c := client(t, s.Server, jobs.ClientConfig{})
	for range 2 {
		worker(t, s.Server, "--queues", "default,"+eightQueues, "--concurrency", "32")
	}
	t.Run("programs", func(t *testing.T) {
		if got := produce(t, s.Server, 0, "create", "sim", `{"steps":[{"incr":"ran"},{"fail_until_attempt":2},{"return":"$attempt"}]}`, "--retries", "1", "--backoff", "10ms", "--await"); got != "2" {
			t.Errorf("retried: %s", got)
		}
		if n, err := s.Universal(t).Get(t.Context(), "sim:ran").Int(); n != 2 || err != nil {
			t.Errorf("it ran %d times, %v", n, err)
		}
		if got := produceFrom(t, s.Server, 0, "1\n2\n3", "gather", "echo", "-", "--await", "--max-running", "1"); got != "1\n2\n3" {
			t.Errorf("gathered: %q", got)
		}
		if got := produce(t, s.Server, 0, "create", "echo", `"later"`, "--in", "300ms", "--await"); got != `"later"` {
			t.Errorf("delayed: %s", got)
		}
		id := produce(t, s.Server, 0, "create", "sim", `{"steps":[{"sleep_ms":60000}]}`)
		eventually(t, "a running task", func() bool {
			return jsonField(t, produce(t, s.Server, 0, "status", "--json", id), "state") == "running"
		})
		produce(t, s.Server, 0, "cancel", "--wait", id)
		produce(t, s.Server, 3, "await", id)
	})
	t.Run("members from elsewhere", func(t *testing.T) {
		var members []jobs.AnyMember
		for i := range 20 {
			task, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"sleep_ms":%d},{"return":%d}`, i*10, i)))
			if err != nil {
				t.Fatal(err)
			}
			members = append(members, task)
		}
		inner, err := jobs.Gather(t.Context(), c, []jobs.Call[json.RawMessage]{sim.Call(steps(`{"return":"inner"}`))})
		if err != nil {
			t.Fatal(err)
		}
		outer, err := jobs.Gather(t.Context(), c, jobs.Mixed(append(members, inner)...))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := await.All(t.Context(), outer); err != nil || len(got) != 21 {
			t.Errorf("%d values, %v", len(got), err)
		}
	})
	t.Run("spread", func(t *testing.T) {
		_, wait := spread(t, c, 200, 20, `{"sleep_ms":5}`)
		wait()
		var keys []int64
		sum := int64(0)
		for _, m := range s.Masters(t) {
			n := m.Client(t).DBSize(t.Context()).Val()
			keys, sum = append(keys, n), sum+n
		}
		t.Logf("keys on each master: %d", keys)
		if len(keys) != 3 || slices.Min(keys)*100 < sum*15 {
			t.Errorf("keys on each master: %d, want 15 %% at least on each of 3", keys)
		}
	})
	healthy(t, s.Server)
	if out := produce(t, s.Server, 0, "doctor", "--json", "--again", "1s"); !strings.Contains(out, `"healthy":true`) {
		t.Errorf("producer doctor: %s", out)
	}
}

// A master is killed while members of 200 groups run: its replica takes over, and every group ends with its values.
func TestDecision19_AMasterOfAClusterIsKilled(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, 3*time.Second)
	c := client(t, s.Server, jobs.ClientConfig{})
	var workers []*program
	for range 2 {
		workers = append(workers, worker(t, s.Server, "--queues", eightQueues, "--concurrency", "64"))
	}
	groups, wait := spread(t, c, 200, 10, `{"sleep_ms":400}`)
	eventually(t, "members that have ended", func() bool {
		return workers[0].metric(t, `gatherq_tasks_ended_total{state="succeeded"}`) > 100
	})
	victim := s.Masters(t)[0]
	replicated(t, victim) // what a master acknowledged and its replica never heard of is lost: that is measured elsewhere
	victim.Kill(t)
	wait()
	for _, g := range groups {
		if info := inspect(t, g); info.State != jobs.StateSucceeded {
			t.Errorf("%s is %s", g.ID(), info.State)
		}
	}
	for _, w := range workers {
		select {
		case <-w.exited:
			t.Errorf("a worker ended: %s", clip(w.stderr.String(), 2000))
		default:
		}
	}
	healthy(t, s.Server)
}

// Slots move from master to master under load, with all that lies in them: those of shards, of queues and of the fleet. What is half here and
// half there is asked for again; nothing is taken for lost, nobody for dead, and nothing runs twice.
func TestDecision19_SlotsMoveUnderLoad(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, steady)
	c := client(t, s.Server, jobs.ClientConfig{})
	var workers []*program
	for range 2 {
		workers = append(workers, worker(t, s.Server, "--queues", eightQueues, "--concurrency", "32"))
	}
	rdb := s.Universal(t)
	const groups, members = 60, 20
	var load sync.WaitGroup
	load.Go(func() {
		_, wait := spread(t, c, groups, members, `{"incr":"ran"},{"sleep_ms":300}`)
		wait()
	})
	const singles = 300
	var at atomic.Int64
	for range 6 {
		load.Go(func() {
			for i := at.Add(1); i <= singles; i = at.Add(1) {
				task, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"incr":"ran"},{"sleep_ms":100},{"return":%d}`, i), jobs.Queue("q"+strconv.FormatInt(i%8, 10))))
				if err != nil {
					t.Errorf("task %d: %v", i, err)
					continue
				}
				out, err := await.Outcome(t.Context(), task)
				if err != nil || string(out.Value) != strconv.FormatInt(i, 10) || out.Attempt != 1 {
					t.Errorf("task %d: %+v, %v", i, out, err)
				}
			}
		})
	}
	eventually(t, "members that run", func() bool { n, _ := rdb.Get(t.Context(), "sim:ran").Int(); return n > 50 })
	masters, moved := s.Masters(t), 0
	names := []string{"gq:{gatherq}:", "asynq:{gatherq:q0}:", "asynq:{gatherq:q1}:"}
	for shard := range 64 {
		names = append(names, fmt.Sprintf("gq:{gatherq:%d}:", shard))
	}
	for _, name := range names {
		slot := int(rdb.ClusterKeySlot(t.Context(), name).Val())
		owner := slices.IndexFunc(masters, func(n *redistest.Node) bool { return s.Owns(t, n, slot) })
		moved += s.MoveSlot(t, slot, masters[owner], masters[(owner+1)%3], func() { pause(t, 30*time.Millisecond) })
	}
	t.Logf("%d keys moved", moved)
	load.Wait()
	if n, err := rdb.Get(t.Context(), "sim:ran").Int(); n != groups*members+singles || err != nil {
		t.Errorf("%d runs of %d, %v", n, groups*members+singles, err)
	}
	for _, w := range workers {
		for _, kind := range []string{"dead_worker", "delivery_vanished", "link_missing", "ticket_missing"} {
			if n := w.metric(t, `gatherq_repairs_total{kind="`+kind+`"}`); n != 0 {
				t.Errorf("%v repairs of kind %s", n, kind)
			}
		}
	}
	healthy(t, s.Server)
}

// replicated waits until a replica of the master has what the master has now.
func replicated(t *testing.T, master *redistest.Node) {
	t.Helper()
	hasAll(t, master.Client(t))
}

// hasAll is replicated of a master that is no Node.
func hasAll(t *testing.T, rdb *redis.Client) {
	t.Helper()
	had := int64(-1)
	eventually(t, "a replica that has it all", func() bool {
		info, err := rdb.Info(t.Context(), "replication").Result()
		if err != nil {
			t.Fatal(err)
		}
		there := int64(-1)
		for line := range strings.Lines(info) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			switch {
			case name == "master_repl_offset" && had < 0:
				had, _ = strconv.ParseInt(value, 10, 64)
			case strings.HasPrefix(name, "slave"):
				_, offset, _ := strings.Cut(value, "offset=")
				offset, _, _ = strings.Cut(offset, ",")
				if n, err := strconv.ParseInt(offset, 10, 64); err == nil {
					there = max(there, n)
				}
			}
		}
		return had >= 0 && there >= had
	})
}
