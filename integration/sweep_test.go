package integration

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/history"
	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/integration/wire"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// TestEveryPosition breaks the wire of a worker, of one that reaps a dead one, of one that finds lost work, and of a producer, each a
// process of its own, at each of its commands in turn: kill -9 there, the command unsent, its answer lost, and those of the rest of its
// pipeline. Whatever the position, all ends as if nothing had happened, and nothing runs again but what the killed one ran. Some
// positions are drawn, by a seed that is printed (GATHERQ_SEED); GATHERQ_LONG=1 takes all.
func TestEveryPosition(t *testing.T) {
	t.Parallel()
	seed := seedOf(t)
	for _, r := range []role{
		{"worker", playWorker, 3, 2},
		{"reaper", playReaper, 2, 4},
		{"reconciler", playReconciler, 2, 3},
		{"producer", playProducer, 3, 2},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			r.sweep(t, seed)
		})
	}
}

// seedOf returns the seed of a test, and says it.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed, err := strconv.ParseUint(os.Getenv("GATHERQ_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("GATHERQ_SEED=%d", seed)
	return seed
}

// role is who is broken, and what happens around it.
type role struct {
	name    string
	play    func(s *scene)
	samples int // positions of each loss
	beside  int // scenes at once: most of their time they wait
}

// scene is one play in a namespace of its own.
type scene struct {
	*testing.T
	redis *redistest.Server
	ns    string
	rdb   *redis.Client // past the wire
	jobs  *jobs.Client  // over rdb
	rec   *history.Recorder
	path  string
	wire  *wire.Proxy
	fault wire.Fault // to be armed by the play, with what it kills
	plan  plan
	stop  []func() // workers of this process, before the end state is looked at
}

func (r role) sweep(t *testing.T, seed uint64) {
	s := redistest.Local(t)
	book := wire.ReadBook(t, "../internal/*/lua/*.lua")
	r.scene(t, s, book, "first", wire.Fault{}) // brings the scripts into Redis
	names := r.scene(t, s, book, "whole", wire.Fault{})
	t.Logf("undisturbed it sends %d commands", len(names))
	if len(names) < 10 {
		t.Fatalf("that are too few to be true: %q", names)
	}
	random := rand.New(rand.NewPCG(seed, uint64(len(r.name))))
	var all sync.WaitGroup
	running := make(chan struct{}, r.beside)
	for _, loss := range []wire.Loss{wire.Dies, wire.Unsent, wire.Answer, wire.Answers} {
		for _, at := range positions(len(names), r.samples, random) {
			running <- struct{}{}
			all.Go(func() {
				defer func() { <-running }()
				name := fmt.Sprintf("%s.%d", loss, at)
				t.Run(name, func(t *testing.T) {
					begin := time.Now()
					sent := r.scene(t, s, book, name, wire.Fault{At: at, Loss: loss})
					command := "" // it sent fewer this time: nothing was broken
					if len(sent) >= at {
						command = sent[at-1]
					}
					figure(t, "every-position", map[string]any{"role": r.name, "loss": loss.String(), "position": at, "command": command, "passed": !t.Failed(), "ms": millis(time.Since(begin))})
				})
			})
		}
	}
	all.Wait()
}

// positions are all of n, or some of them, one of each part of the whole.
func positions(n, samples int, random *rand.Rand) (at []int) {
	switch {
	case os.Getenv("GATHERQ_LONG") != "":
		samples = n
	case underRace: // each takes three times as long, and they have been drawn without it as well
		samples = max(samples/3, 1)
	}
	for i := range samples {
		from, to := i*n/samples, (i+1)*n/samples
		at = append(at, from+1+random.IntN(max(to-from, 1)))
	}
	return at
}

// scene plays the role once with a fault, judges it, and returns the commands that were counted.
func (r role) scene(t *testing.T, s *redistest.Server, book *wire.Book, name string, fault wire.Fault) []string {
	sc := newScene(t, s, r.name+"."+name)
	sc.fault = fault
	sc.wire = wire.Start(t, sc.rdb.Options().Addr, book)
	sc.plan = plan{Singles: 5, Members: 6, Limit: 2 * patience, Prefix: "p"}
	r.play(sc)
	sc.judge()
	return sc.wire.Names()
}

// newScene returns a scene without a plan and a wire. Its history is kept below GATHERQ_HISTORIES, if that is set.
func newScene(t *testing.T, s *redistest.Server, namespace string) *scene {
	t.Helper()
	dir := os.Getenv("GATHERQ_HISTORIES")
	if dir == "" {
		dir = t.TempDir()
	}
	sc := &scene{T: t, redis: s, ns: namespace, rdb: s.Client(t), path: filepath.Join(dir, fmt.Sprintf("%s.%d.jsonl", namespace, os.Getpid()))}
	var err error
	if sc.rec, err = history.Open(sc.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sc.rec.Close() })
	if sc.jobs, err = jobs.NewClient(sc.rdb, jobs.ClientConfig{Namespace: sc.ns, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sc.jobs.Close() })
	return sc
}

// judge looks at the history and at what is left in Redis.
func (s *scene) judge() {
	s.Helper()
	for id, attempts := range s.plan.ids() {
		op := s.rec.Begin(history.Event{Kind: history.Read, ID: id})
		end, err := s.plan.seen(s.Context(), s.jobs, id, attempts == 0)
		if err != nil {
			s.Fatalf("%s: %v", id, err)
		}
		op.End(history.OK, end)
		outs := end.Members
		if end.Outcome != nil {
			outs = []history.Outcome{*end.Outcome}
		}
		for _, out := range outs {
			if out.State != string(jobs.StateSucceeded) || out.Attempt != max(attempts, 1) {
				s.Errorf("not the end of the undisturbed run: %+v", out)
			}
		}
	}
	healthyIn(s.T, s.redis, s.ns)
	s.settle()
	judged(s.T, s.path, len(s.plan.ids()))
}

// settle waits until nothing is left of the work without a time to live, and ends the workers of this process.
func (s *scene) settle() {
	s.Helper()
	s.unstage()
	calm := 0 // a ticket whose staging is gone is in nobody's list for a moment before it is dropped
	var left []string
	defer func() {
		if len(left) > 0 {
			s.Logf("left without a time to live: %q", left)
		}
	}()
	eventually(s.T, "nothing left without a time to live", func() bool {
		calm++
		if left = endless(s.T, s.rdb, s.ns); len(left) > 0 {
			calm = 0
		}
		return calm >= 20
	})
	for _, stop := range s.stop {
		stop()
	}
	s.jobs.Close()
	s.rec.Note(history.Event{Kind: history.Keys, Left: endless(s.T, s.rdb, s.ns)})
}

// unstage lets the minute be over that what a producer staged and did not commit stays.
func (s *scene) unstage() {
	s.Helper()
	for iter := s.rdb.Scan(s.Context(), 0, "gq:{"+s.ns+":0}:a:*", 1000).Iterator(); iter.Next(s.Context()); {
		if ttl := s.rdb.PTTL(s.Context(), iter.Val()).Val(); ttl > 0 && ttl <= time.Minute { // of what was committed it is an hour
			s.rdb.PExpire(s.Context(), iter.Val(), time.Millisecond)
		}
	}
}

// judged is the checker's judgement of a history in which at least so many ends were seen.
func judged(t *testing.T, path string, ends int) history.Summary {
	t.Helper()
	events, err := history.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	bad, sum := history.Check(events)
	for _, v := range bad {
		t.Errorf("%v", v)
	}
	if sum.Ended < ends || sum.Runs == 0 {
		t.Errorf("the history shows too little: %+v", sum)
	}
	return sum
}

// endless are the keys of a namespace's work that have no time to live.
func endless(t *testing.T, rdb *redis.Client, ns string) (left []string) {
	t.Helper()
	pipe := rdb.Pipeline() // a trip for each of thousands of keys would take longer than what is waited for
	ttls := map[string]*redis.DurationCmd{}
	iter := rdb.Scan(t.Context(), 0, "*{"+ns+":*", 1000).Iterator()
	for iter.Next(t.Context()) {
		key := iter.Val()
		if strings.HasPrefix(key, "asynq:{") && (strings.HasSuffix(key, ":processed") || strings.HasSuffix(key, ":processed_total")) {
			continue // asynq's count of a queue
		}
		if ttls[key] == nil {
			ttls[key] = pipe.PTTL(t.Context(), key)
		}
	}
	if err := iter.Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	for key, ttl := range ttls {
		if ttl.Val() == -1 {
			left = append(left, key)
		}
	}
	slices.Sort(left)
	return left
}

// serve runs a worker of this process until the end state is looked at.
func (s *scene) serve(queue string) {
	s.Helper()
	w, err := stepper(s.jobs, s.rec, 8, queue)
	if err != nil {
		s.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	s.stop = append(s.stop, stop)
	s.Cleanup(stop)
	select {
	case <-w.Ready():
	case <-time.After(patience):
		s.Fatal("the worker is not ready")
	}
}

// broken starts an actor behind the wire; where the fault is its death, it is killed there.
func (s *scene) broken(role string) *actor {
	s.Helper()
	return act(s.T, part{Role: role, URL: s.wire.URL(), Namespace: s.ns, History: s.path, Concurrency: 8, Plan: s.plan})
}

// arm begins to count the commands of an actor.
func (s *scene) arm(from func(name string) bool, a func() *actor) {
	s.fault.From = from
	s.fault.Kill = func() { s.kill(a()) }
	s.wire.Arm(s.fault)
}

// kill is kill -9, and says so in the history.
func (s *scene) kill(a *actor) {
	pid := a.cmd.Process.Pid
	op := s.rec.Begin(history.Event{Kind: history.Fault, Fault: history.Killed, Procs: []int{pid}})
	a.cmd.Process.Kill()
	<-a.exited
	op.End(history.OK, history.Event{})
}

// played plays the plan in this process.
func (s *scene) played() <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.plan.play(s.Context(), s.jobs, s.rec) }()
	return done
}

// until waits for the end of the plan; where the actor dies before, another worker of this process takes its place.
func (s *scene) until(done <-chan error, a *actor) {
	s.Helper()
	dies := s.fault.At > 0 && s.fault.Loss == wire.Dies
	struck := s.wire.Struck()
	for {
		select {
		case err := <-done:
			if err != nil {
				s.Fatalf("the plan: %v", err)
			}
			select {
			case <-a.exited:
				if !dies {
					s.Fatalf("the %s ended: %s", a.name, a.stderr.String())
				}
			default:
				s.drain(a)
				if !dies || struck != nil {
					s.serve("default") // what the broken wire left in asynq is a worker's to mend
				}
			}
			return
		case <-struck:
			struck = nil
			if dies {
				s.serve("default")
			}
		case <-time.After(3 * patience):
			s.Fatal("the plan does not end")
		}
	}
}

// drain ends a worker as a deploy does.
func (s *scene) drain(a *actor) {
	s.Helper()
	a.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-a.exited:
	case <-time.After(patience):
		s.Fatalf("the %s does not end: %s", a.name, a.stderr.String())
	}
	if code := a.cmd.ProcessState.ExitCode(); code > 0 { // -1: the fault came to it on its way out
		s.Errorf("the %s ended with %d: %s", a.name, code, a.stderr.String())
	}
}

// starting arms the wire and starts a worker behind it.
func (s *scene) starting(from func(name string) bool) *actor {
	s.Helper()
	var a *actor
	begun := make(chan struct{})
	s.arm(from, func() *actor { <-begun; return a })
	a = s.broken("worker")
	close(begun)
	select {
	case <-a.Ready:
	case <-a.exited:
	case <-s.wire.Struck():
	case <-time.After(patience):
		s.Fatal("the worker is not ready: ", a.stderr.String())
	}
	return a
}
