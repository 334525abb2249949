package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
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

// refuser is a Redis that refuses some commands with an error reply, and executes the others.
type refuser struct {
	on      atomic.Bool
	share   float64
	replies []string
	refused sync.Map // name of a command → *atomic.Int64
	n       atomic.Int64
}

type refusal string

func (r refusal) Error() string { return string(r) }
func (refusal) RedisError()     {}

// refuse decides about one command.
func (r *refuser) refuse(cmd redis.Cmder) bool {
	switch cmd.Name() {
	case "hello", "client", "subscribe", "info":
		return false
	}
	if !r.on.Load() || rand.Float64() >= r.share {
		return false
	}
	cmd.SetErr(refusal(r.replies[int(r.n.Add(1))%len(r.replies)]))
	count, _ := r.refused.LoadOrStore(cmd.Name(), &atomic.Int64{})
	count.(*atomic.Int64).Add(1)
	return true
}

func (*refuser) DialHook(next redis.DialHook) redis.DialHook { return next }

func (r *refuser) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if r.refuse(cmd) {
			return cmd.Err()
		}
		return next(ctx, cmd)
	}
}

func (r *refuser) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		rest := make([]redis.Cmder, 0, len(cmds))
		var failure error
		for _, cmd := range cmds {
			if r.refuse(cmd) {
				failure = cmd.Err()
			} else {
				rest = append(rest, cmd)
			}
		}
		if len(rest) > 0 {
			if err := next(ctx, rest); err != nil {
				return err
			}
		}
		return failure
	}
}

// load creates tasks and a group through one client and runs them in a worker of the library over the same Redis client; everything has
// its value, and ran once in one attempt.
func load(t *testing.T, rdb redis.UniversalClient, begin func()) {
	t.Helper()
	const singles, members = 150, 400
	c, err := jobs.NewClient(rdb, jobs.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Concurrency: 16})
	if err != nil {
		t.Fatal(err)
	}
	var runs [singles + members]atomic.Int64
	def := jobs.Define[int, int]("double")
	jobs.Handle(w, def, func(ctx context.Context, n int) (int, error) {
		runs[n].Add(1)
		if at := jobs.Current(ctx).Attempt; at != 1 {
			return 0, fmt.Errorf("attempt %d", at)
		}
		return 2 * n, nil
	})
	serve(t, w)
	begin()
	ctx, stop := context.WithTimeout(t.Context(), 3*time.Minute)
	defer stop()
	var wg sync.WaitGroup
	for i := range singles {
		wg.Go(func() {
			task, err := jobs.CreateTask(ctx, c, def.Call(i))
			if err != nil {
				t.Errorf("create %d: %v", i, err)
				return
			}
			if v, err := await.Result(ctx, task); err != nil || v != 2*i {
				t.Errorf("task %d: %d, %v", i, v, err)
			}
		})
	}
	wg.Go(func() {
		args := make([]int, members)
		for i := range args {
			args[i] = singles + i
		}
		group, err := jobs.Gather(ctx, c, def.Calls(args...))
		if err != nil {
			t.Errorf("gather: %v", err)
			return
		}
		got, err := await.All(ctx, group)
		if err != nil {
			t.Errorf("group: %v", err)
			return
		}
		for i, v := range got {
			if v != 2*args[i] {
				t.Errorf("member %d: %d", i, v)
			}
		}
	})
	wg.Wait()
	for i := range runs {
		if n := runs[i].Load(); n != 1 {
			t.Errorf("%d ran %d times", i, n)
		}
	}
}

// Any command may be refused for the moment, each of the reasons: nobody sees it, nothing is lost and nothing runs twice.
func TestDecision19_EveryCommandMayBeRefused(t *testing.T) {
	t.Parallel()
	for _, share := range []float64{0.05, 0.3} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			r := &refuser{share: share, replies: []string{
				"READONLY You can't write against a read only replica.", "LOADING Redis is loading the dataset in memory",
				"TRYAGAIN Multiple keys request during rehashing of slot", "CLUSTERDOWN The cluster is down", "MASTERDOWN Link with MASTER is down",
				"NOREPLICAS Not enough good replicas to write.", "MISCONF Redis is configured to save RDB snapshots", "BUSY Redis is busy running a script.",
				"ERR max number of clients reached",
			}}
			rdb := redistest.Any(t).PatientClient(t)
			rdb.AddHook(r)
			load(t, rdb, func() { r.on.Store(true) })
			r.on.Store(false)
			var seen []string
			r.refused.Range(func(name, n any) bool {
				seen = append(seen, fmt.Sprint(name, " ", n.(*atomic.Int64).Load()))
				return true
			})
			t.Log("refused: ", seen)
			if !slices.ContainsFunc(seen, func(s string) bool { return strings.HasPrefix(s, "evalsha ") }) {
				t.Error("nothing was refused")
			}
		})
	}
}

// Redis forgets its scripts again and again.
func TestDecision19_ScriptsAreLost(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		rdb, own := s.PatientClient(t), s.Client(t)
		over, ended := make(chan struct{}), make(chan struct{})
		load(t, rdb, func() {
			go func() {
				defer close(ended)
				for {
					select {
					case <-over:
						return
					case <-time.After(20 * time.Millisecond):
						own.ScriptFlush(context.Background())
					}
				}
			}()
		})
		close(over)
		<-ended
		healthy(t, s)
	})
}

// cpu is how much processor time a program has had.
func (p *program) cpu(t *testing.T) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Skip("no /proc here: ", err)
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	user, _ := strconv.Atoi(f[11])
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100 wherever Go runs
}

// While Redis answers every write with an error, or is not there, a worker takes less than a fifth of a core, and what it had in hand ends afterwards.
func TestDecision19_AWorkerIsCheapWhileRedisRefuses(t *testing.T) {
	t.Parallel()
	const each = 4 * time.Second
	type ways struct {
		refuse, accept func(t *testing.T, rdb *redis.Client)
	}
	local := func(w ways) func(*testing.T) (*redistest.Server, ways) {
		return func(t *testing.T) (*redistest.Server, ways) { return redistest.Local(t), w }
	}
	for name, of := range map[string]func(t *testing.T) (*redistest.Server, ways){
		"READONLY": local(ways{
			func(t *testing.T, rdb *redis.Client) { do(t, rdb, "replicaof", "127.0.0.1", "1") },
			func(t *testing.T, rdb *redis.Client) { do(t, rdb, "replicaof", "no", "one") },
		}),
		"NOREPLICAS": local(ways{
			func(t *testing.T, rdb *redis.Client) { do(t, rdb, "config", "set", "min-replicas-to-write", "3") },
			func(t *testing.T, rdb *redis.Client) { do(t, rdb, "config", "set", "min-replicas-to-write", "0") },
		}),
		"BUSY": local(ways{
			func(t *testing.T, rdb *redis.Client) {
				do(t, rdb, "config", "set", "busy-reply-threshold", "1")
				go rdb.Eval(context.Background(), "while true do end", nil)
			},
			func(t *testing.T, rdb *redis.Client) {
				eventually(t, "the end of the script", func() bool { return rdb.ScriptKill(context.Background()).Err() == nil })
			},
		}),
		"max clients": local(ways{
			func(t *testing.T, rdb *redis.Client) {
				do(t, rdb, "config", "set", "maxclients", 1)
				for _, kind := range []string{"normal", "pubsub"} {
					do(t, rdb, "client", "kill", "type", kind, "skipme", "yes")
				}
			},
			func(t *testing.T, rdb *redis.Client) { do(t, rdb, "config", "set", "maxclients", 10_000) },
		}),
		"down": func(t *testing.T) (*redistest.Server, ways) {
			s, node := redistest.Restartable(t)
			return s, ways{
				func(t *testing.T, _ *redis.Client) { node.Kill(t) },
				func(t *testing.T, _ *redis.Client) { node.Start(t) },
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, ways := of(t)
			rdb := s.PatientClient(t)
			w := worker(t, s, "--concurrency", "8")
			held := produce(t, s, 0, "create", "sim", `{"steps":[{"sleep_ms":3000},{"return":"held"}]}`)
			c := client(t, s, jobs.ClientConfig{})
			eventually(t, "a running task", func() bool {
				return inspect(t, jobs.TaskByID[json.RawMessage](c, held)).State != jobs.StatePending
			})
			ways.refuse(t, rdb)
			before := w.cpu(t)
			time.Sleep(each)
			used := w.cpu(t) - before
			ways.accept(t, rdb)
			t.Logf("%v of processor time in %v", used, each)
			if used > each/5 {
				t.Errorf("%v of processor time in %v", used, each)
			}
			if got := produce(t, s, 0, "await", held); got != `"held"` {
				t.Errorf("%s", got)
			}
			if got := produce(t, s, 0, "create", "echo", `1`, "--await"); got != "1" {
				t.Errorf("%s", got)
			}
		})
	}
}

func do(t *testing.T, rdb *redis.Client, args ...any) {
	t.Helper()
	if err := rdb.Do(context.Background(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}
