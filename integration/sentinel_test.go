package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
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

// stream creates tasks and awaits each, until it is stopped: whatever happens to Redis, every call ends, with a value or an error that says what
// became of it.
type stream struct {
	wg   sync.WaitGroup
	stop context.CancelFunc

	ended, lost, unsure atomic.Int64
	mu                  sync.Mutex
	pauses              time.Duration // the longest between two creations that succeeded
	last                time.Time
	acknowledged        []string // IDs of the creations that succeeded
}

func startStream(t *testing.T, c *jobs.Client, creators int) *stream {
	t.Helper()
	s := &stream{}
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	t.Cleanup(func() { stop(); s.wg.Wait() })
	for n := range creators {
		s.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				s.one(t, c, fmt.Sprintf("stream-%d-%d", n, i))
				pause(t, 10*time.Millisecond) // a failover is looked at, not how fast a machine is
			}
		})
	}
	return s
}

// one creates a task and awaits it. An error of the creation that leaves it open whether it happened is followed by the same call.
func (s *stream) one(t *testing.T, c *jobs.Client, id string) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer stop()
	var task *jobs.Task[json.RawMessage]
	for {
		var err error
		if task, err = jobs.CreateTask(ctx, c, sim.Call(steps(`{"return":"value"}`), jobs.ID(id))); err == nil {
			break
		}
		if !isKind(err, jobs.ErrIndeterminate) && !isKind(err, jobs.ErrUnavailable) && !isKind(err, jobs.ErrNotDurable) || ctx.Err() != nil {
			t.Errorf("%s: %v", id, err)
			return
		}
		s.unsure.Add(1)
	}
	s.created(id)
	out, err := await.Outcome(ctx, task)
	switch {
	case err == nil && out.State == jobs.StateLost || isKind(err, jobs.ErrUnknown) || isKind(err, jobs.ErrLost):
		s.lost.Add(1) // acknowledged by a master, and its replica never heard of it
	case err != nil || string(out.Value) != `"value"` || out.Err != nil:
		t.Errorf("%s: %+v, %v", id, out, err)
	default:
		s.ended.Add(1)
	}
}

func (s *stream) created(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.acknowledged = append(s.acknowledged, id)
	now := time.Now()
	if !s.last.IsZero() {
		s.pauses = max(s.pauses, now.Sub(s.last))
	}
	s.last = now
}

// longest returns the longest time without a creation since it was asked last.
func (s *stream) longest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.pauses, s.last = 0, time.Time{} }()
	return s.pauses
}

// known are the acknowledged creations so far.
func (s *stream) known() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.acknowledged)
}

// more waits until n more tasks have ended.
func (s *stream) more(t *testing.T, n int64) {
	t.Helper()
	from := s.ended.Load()
	eventually(t, strconv.FormatInt(n, 10)+" more tasks that end", func() bool { return s.ended.Load() >= from+n })
}

// Sentinels replace a master that lives and is told to step down, and then one that is killed, with writes that no replica got: nobody hangs,
// what is lost is said to be, the fleet notices that Redis has gone back, and nobody stays with a master that is none any more.
func TestDecision20_AFailoverOfSentinels(t *testing.T) {
	t.Parallel()
	s := redistest.StartSentinels(t, time.Second)
	c := client(t, s.Server, jobs.ClientConfig{})
	var workers []*program
	for range 2 {
		workers = append(workers, worker(t, s.Server, "--concurrency", "16"))
	}
	load := startStream(t, c, 4)
	load.more(t, 50)
	zeroth := s.Master(t)
	watcher := s.Watchers[0].Client(t)
	eventually(t, "sentinels that begin another failover", func() bool {
		return watcher.Do(t.Context(), "sentinel", "failover", redistest.MasterName).Err() == nil
	})
	load.longest()
	first := s.AwaitPromotion(t, zeroth)
	load.more(t, 50)
	t.Logf("told to step down: longest pause between creations %v", load.longest())
	demoted := zeroth.Client(t)
	eventually(t, "a demoted master that everybody has left", func() bool {
		list, err := demoted.ClientList(t.Context()).Result()
		if err != nil { // it closes all connections when it becomes a replica, this one too
			return false
		}
		n := 0
		for line := range strings.Lines(list) {
			if !strings.Contains(line, "name=sentinel-") && !strings.Contains(line, "cmd=client") && !strings.Contains(line, "flags=M") && !strings.Contains(line, "flags=S") {
				n++
			}
		}
		return n == 0
	})

	kept := produce(t, s.Server, 0, "create", "sim", `{"steps":[{"sleep_ms":4000},{"return":"kept"}]}`)
	rdb := first.Client(t)
	replicated(t, first)
	do(t, rdb, "acl", "setuser", "default", "-psync", "-sync")
	do(t, rdb, "client", "kill", "type", "replica")
	// From here on nothing that this master writes reaches another one.
	gone, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"sleep_ms":60000}`), jobs.ID("gone")))
	if err != nil {
		t.Fatal(err)
	}
	mark := func(n *redis.Client) int {
		m, _ := n.HGet(t.Context(), "gq:{gatherq}:meta", "mark").Int()
		return m
	}
	before := mark(rdb)
	eventually(t, "beats that are lost", func() bool { return mark(rdb) > before+8 })
	eventually(t, "a task that runs", func() bool { return inspect(t, gone).State == jobs.StateRunning })
	said := make(chan error, 1)
	go func() {
		out, err := await.Outcome(t.Context(), gone)
		if err == nil {
			err = out.Err
		}
		said <- err
	}()
	first.Kill(t)
	killed := time.Now()
	second := s.AwaitPromotion(t, first)
	promoted := time.Since(killed)
	load.more(t, 50)
	t.Logf("killed: another master after %v, 50 tasks more after %v; longest pause between creations %v", promoted, time.Since(killed), load.longest())
	select {
	case err := <-said:
		if !isKind(err, jobs.ErrLost) && !isKind(err, jobs.ErrUnknown) {
			t.Errorf("what only the dead master knew: %v", err)
		}
	case <-time.After(patience):
		t.Error("the await of what only the dead master knew does not end")
	}
	if got := produce(t, s.Server, 0, "await", kept); got != `"kept"` {
		t.Errorf("what was replicated: %s", got)
	}
	eventually(t, "a fleet that has noticed", func() bool {
		return workers[0].metric(t, `gatherq_repairs_total{kind="rolled_back"}`)+workers[1].metric(t, `gatherq_repairs_total{kind="rolled_back"}`) >= 1
	})

	load.stop()
	load.wg.Wait()
	t.Logf("%d tasks ended, %d lost, %d creations repeated; masters %s, %s, %s", load.ended.Load(), load.lost.Load(), load.unsure.Load(), zeroth.Addr, first.Addr, second.Addr)
	healthy(t, s.Server)
}

// Masters are killed one after the other under load, and come back as replicas. Nobody is declared dead, and what runs meanwhile runs once.
// What is lost of what was acknowledged is counted; where creations wait for a replica it is nothing, also where no replica got anything any more for a while before the kill. It is one failover each, 20
// with GATHERQ_LONG, or as many as GATHERQ_FAILOVERS says.
func TestDecision20_MastersDieInTurn(t *testing.T) {
	t.Parallel()
	loops := 1
	if inFull() {
		loops = 20
	}
	if n, err := strconv.Atoi(os.Getenv("GATHERQ_FAILOVERS")); err == nil {
		loops = n
	}
	for name, way := range map[string]failovers{
		"local":                 {durability: jobs.Local},
		"min-replicas-to-write": {durability: jobs.Replicas(1), least: 1},
		"replicas cut off":      {durability: jobs.Replicas(1), cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			way.run(t, name, loops)
		})
	}
}

// failovers is a way in which masters die.
type failovers struct {
	durability jobs.Durability
	least      int  // min-replicas-to-write
	cut        bool // replication ends before the kill
}

func (f failovers) run(t *testing.T, name string, loops int) {
	s := redistest.StartSentinels(t, time.Second)
	for _, n := range s.Nodes {
		do(t, n.Client(t), "config", "set", "min-replicas-to-write", f.least)
	}
	c := client(t, s.Server, jobs.ClientConfig{Durability: f.durability, DurableWithin: time.Second})
	workers := []*program{worker(t, s.Server, "--concurrency", "16"), worker(t, s.Server, "--concurrency", "16")}
	load := startStream(t, c, 4)
	load.more(t, 50)
	lost := 0
	for loop := range loops {
		master := s.Master(t)
		held := inHand(t, c, master, loop)
		if f.cut {
			rdb, unsure := master.Client(t), load.unsure.Load()
			do(t, rdb, "acl", "setuser", "default", "-psync", "-sync")
			do(t, rdb, "client", "kill", "type", "replica")
			eventually(t, "creations that no replica confirms", func() bool { return load.unsure.Load() >= unsure+4 })
		}
		master.Kill(t)
		killed := time.Now()
		s.AwaitPromotion(t, master)
		promoted, had := time.Now(), len(load.known())
		eventually(t, "a creation at the new master", func() bool { return len(load.known()) > had })
		resumed := time.Since(promoted)
		load.more(t, 50)
		once(t, c, held)
		if n := simKey(t, s.Master(t).Client(t), heldRuns(loop)); n != len(held) {
			t.Errorf("%d tasks that ran at the failover ran %d times", len(held), n)
		}
		dead := repaired(t, workers, "dead_worker")
		if dead != 0 {
			t.Errorf("%v workers were declared dead", dead)
		}
		if inFull() && resumed > 10*time.Second {
			t.Errorf("the first creation at the new master came %v behind its promotion", resumed)
		}
		all := load.known()
		gone := forgotten(t, c, all)
		figure(t, "failover", map[string]any{"way": name, "durability": f.durability.String(), "loop": loop, "promoted_ms": millis(promoted.Sub(killed)),
			"resumed_ms": millis(resumed), "acknowledged": len(all), "lost": gone - lost, "held": len(held), "declared_dead": dead})
		if lost = gone; f.durability != jobs.Local && lost != 0 {
			t.Fatalf("%d acknowledged tasks are unknown", lost)
		}
		if loop+1 < loops {
			master.Start(t)
			do(t, master.Client(t), "config", "set", "min-replicas-to-write", f.least)
			s.AwaitReplicas(t)
		}
	}
	load.stop()
	load.wg.Wait()
	if n := load.lost.Load(); f.durability != jobs.Local && n != 0 {
		t.Errorf("%d tasks were lost to their awaits", n)
	}
	healthy(t, s.Server)
}

// inHand returns tasks that run, of which a replica knows that, and that go on for longer than a failover usually takes.
func inHand(t *testing.T, c *jobs.Client, master *redistest.Node, loop int) (list []*jobs.Task[json.RawMessage]) {
	t.Helper()
	for i := range 10 {
		task, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"incr":%q},{"sleep_ms":8000},{"return":%d}`, heldRuns(loop), i), jobs.ID(fmt.Sprintf("held-%d-%d", loop, i))))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, task)
	}
	rdb := master.Client(t)
	eventually(t, "all started", func() bool { return simKey(t, rdb, heldRuns(loop)) == len(list) })
	replicated(t, master)
	return list
}

// heldRuns is the counter of the runs of what is in hand at a failover.
func heldRuns(loop int) string { return fmt.Sprint("held", loop) }

// forgotten counts the tasks that Redis knows nothing of.
func forgotten(t *testing.T, c *jobs.Client, ids []string) (n int) {
	t.Helper()
	for _, id := range ids {
		switch _, err := jobs.Inspect(t.Context(), jobs.TaskByID[json.RawMessage](c, id)); {
		case isKind(err, jobs.ErrUnknown):
			n++
		case err != nil:
			t.Fatalf("%s: %v", id, err)
		}
	}
	return n
}
