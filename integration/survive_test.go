package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"runtime"
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

// Awaits survive what happens to Redis, or end as unavailable when they said they would. Nothing of them is left then: this test runs by itself,
// since it looks for goroutines of the library.
func TestDecision16_AwaitsSurvive(t *testing.T) {
	t.Run("it", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T){
			"a restart of Redis": surviveRestart, "the end of their subscription": surviveSubscription,
			"a storm of reconnects": surviveStorm, "nothing: Redis is killed": endKilled, "nothing: Redis is demoted": endDemoted,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t)
			})
		}
	})
	stacks := make([]byte, 1<<20)
	eventually(t, "no goroutine of the library any more", func() bool {
		n := runtime.Stack(stacks[:cap(stacks)], true)
		stacks = stacks[:n]
		return !bytes.Contains(stacks, []byte("gatherq/internal/")) && !bytes.Contains(stacks, []byte("gatherq/pkg/"))
	})
}

// awaiter is a client with a pool of its own, whose connections bear its name, and which ends with close.
type awaiter struct {
	*jobs.Client
	rdb *redis.Client
}

func newAwaiter(t *testing.T, s *redistest.Server, cfg jobs.ClientConfig) awaiter {
	t.Helper()
	opts, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	opts.ClientName, opts.DialerRetries = "awaiter", 1
	rdb := redis.NewClient(opts)
	c, err := jobs.NewClient(rdb, cfg)
	if err != nil {
		t.Fatal(err)
	}
	a := awaiter{c, rdb}
	t.Cleanup(a.close)
	return a
}

func (a awaiter) close() {
	a.Client.Close()
	a.rdb.Close()
}

// pending creates tasks that nobody serves yet.
func pending(t *testing.T, c *jobs.Client, n int) []*jobs.Task[json.RawMessage] {
	t.Helper()
	calls := make([]jobs.Call[json.RawMessage], n)
	for i := range calls {
		calls[i] = sim.Call(steps(`{"return":%d}`, i))
	}
	tasks, err := jobs.CreateTasks(t.Context(), c, calls)
	if err != nil {
		t.Fatal(err)
	}
	return tasks
}

// awaitEach awaits every task in a goroutine of its own, and counts what came of it. The wait group ends with the last.
func awaitEach(t *testing.T, c *jobs.Client, tasks []*jobs.Task[json.RawMessage]) (all *sync.WaitGroup, values, unavailable *atomic.Int64) {
	t.Helper()
	all, values, unavailable = &sync.WaitGroup{}, &atomic.Int64{}, &atomic.Int64{}
	for i, task := range tasks {
		all.Go(func() {
			v, err := await.Result(context.Background(), task)
			switch {
			case err == nil && string(v) == strconv.Itoa(i):
				values.Add(1)
			case isKind(err, jobs.ErrUnavailable):
				unavailable.Add(1)
			default:
				t.Errorf("task %d: %s, %v", i, v, err)
			}
		})
	}
	eventually(t, "awaits that are open", func() bool { return c.Stats().AwaitsOpen == len(tasks) })
	return all, values, unavailable
}

// Awaits stand while Redis is killed and started again, and end with what their tasks end with afterwards.
func surviveRestart(t *testing.T) {
	s, node := redistest.Restartable(t)
	a := newAwaiter(t, s, jobs.ClientConfig{})
	tasks := pending(t, a.Client, 300)
	all, values, _ := awaitEach(t, a.Client, tasks)
	for range 2 {
		node.Kill(t)
		node.Start(t)
	}
	w := worker(t, s)
	all.Wait()
	if n := values.Load(); n != 300 {
		t.Errorf("%d of 300 awaits have their value", n)
	}
	healthy(t, s)
	w.kill(t)
	a.close()
}

// The connection over which awaits are told dies again and again, also in the very moment in which a task ends: every await has its value.
func surviveSubscription(t *testing.T) {
	s := redistest.Local(t)
	rdb := s.Client(t)
	a := newAwaiter(t, s, jobs.ClientConfig{})
	wc := client(t, s, jobs.ClientConfig{})
	w, err := jobs.NewWorker(wc, jobs.WorkerConfig{Concurrency: 20})
	if err != nil {
		t.Fatal(err)
	}
	const n, kills = 400, 40
	var subscription sync.Mutex // one handler at a time looks for it
	def := jobs.Define[int, int]("kill")
	jobs.Handle(w, def, func(ctx context.Context, i int) (int, error) {
		subscription.Lock()
		defer subscription.Unlock()
		for i < kills && ctx.Err() == nil { // the end that follows is told to nobody, or to a subscription that is a moment old
			list, err := rdb.Do(ctx, "client", "list", "type", "pubsub").Text()
			if err != nil {
				return 0, err
			}
			for line := range strings.Lines(list) {
				id, rest, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
				if !strings.Contains(rest, " name=awaiter ") {
					continue
				}
				if n, err := rdb.ClientKillByFilter(ctx, "ID", id).Result(); n > 0 || err != nil {
					return i, err
				}
			}
		}
		return i, ctx.Err()
	})
	serve(t, w)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			task, err := jobs.CreateTask(t.Context(), a.Client, def.Call(i))
			if err != nil {
				t.Errorf("task %d: %v", i, err)
				return
			}
			if v, err := await.Result(t.Context(), task); v != i || err != nil {
				t.Errorf("task %d: %d, %v", i, v, err)
			}
		})
	}
	all.Wait()
	healthy(t, s)
}

// A process with 10,000 awaits loses all its connections: it asks again in batches, once for each reconnect, and over two connections.
func surviveStorm(t *testing.T) {
	const awaits = 10_000
	s := redistest.Local(t)
	rdb := s.Client(t)
	a := newAwaiter(t, s, jobs.ClientConfig{})
	tasks := pending(t, a.Client, awaits)
	all, values, _ := awaitEach(t, a.Client, tasks)
	scripts := func() (n int) {
		info, err := rdb.Info(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(info) {
			if strings.HasPrefix(line, "cmdstat_evalsha:calls=") || strings.HasPrefix(line, "cmdstat_eval:calls=") {
				_, calls, _ := strings.Cut(line, "calls=")
				calls, _, _ = strings.Cut(calls, ",")
				c, _ := strconv.Atoi(calls)
				n += c
			}
		}
		return n
	}
	subscription := func() string {
		list, err := rdb.Do(t.Context(), "client", "list", "type", "pubsub").Text()
		if err != nil {
			t.Fatal(err)
		}
		id, _, _ := strings.Cut(list, " ")
		return id
	}
	before, storms := scripts(), 0
	begin := time.Now()
	for range 5 {
		was := subscription()
		do(t, rdb, "client", "kill", "type", "normal", "skipme", "yes")
		do(t, rdb, "client", "kill", "type", "pubsub")
		eventually(t, "another subscription", func() bool { id := subscription(); return id != "" && id != was })
		storms++
	}
	asked, took := scripts()-before, time.Since(begin)
	// Each look at everything is awaits/64 scripts at most; beside one for each reconnect there is one every two seconds, and what was cut off.
	looks := 2*storms + int(took/(2*time.Second)) + 2
	t.Logf("%d scripts for %d reconnects of %d awaits in %v; %d connections", asked, storms, awaits, took, len(clients(t, rdb, "awaiter")))
	if most := looks * (awaits/64 + 20); asked > most {
		t.Errorf("%d scripts, at most %d", asked, most)
	}
	if open := a.Client.Stats().AwaitsOpen; open != awaits {
		t.Errorf("%d awaits are open", open)
	}
	if n := len(clients(t, rdb, "awaiter")); n > 4 { // three flights and the subscription
		t.Errorf("%d connections", n)
	}
	w := worker(t, s, "--concurrency", "64")
	all.Wait()
	if n := values.Load(); n != awaits {
		t.Errorf("%d of %d awaits have their value", n, awaits)
	}
	w.kill(t)
	a.close()
	eventually(t, "no connection any more", func() bool { return len(clients(t, rdb, "awaiter")) == 0 })
}

func endKilled(t *testing.T) {
	endWithPatience(t, func(s *redistest.Server, _ *redis.Client) { s.Kill(t) })
}

func endDemoted(t *testing.T) {
	endWithPatience(t, func(_ *redistest.Server, rdb *redis.Client) { do(t, rdb, "replicaof", "127.0.0.1", "1") })
}

// endWithPatience awaits on a Redis that is gone for good, or there and never again a master: the awaits end as unavailable, when the client's
// patience is over and not before.
func endWithPatience(t *testing.T, end func(s *redistest.Server, rdb *redis.Client)) {
	const patient, awaits = 3 * time.Second, 1000
	s := redistest.Local(t)
	rdb := s.Client(t)
	a := newAwaiter(t, s, jobs.ClientConfig{Patience: patient})
	all, _, unavailable := awaitEach(t, a.Client, pending(t, a.Client, awaits))
	begin := time.Now()
	end(s, rdb)
	all.Wait()
	took := time.Since(begin)
	t.Log(took)
	if n := unavailable.Load(); n != awaits {
		t.Errorf("%d of %d awaits are unavailable", n, awaits)
	}
	if took < patient-time.Second { // the last answer may have come a moment before the end
		t.Errorf("they ended after %v, want %v", took, patient)
	}
	a.close()
}
