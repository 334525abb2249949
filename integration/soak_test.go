package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/history"
	"github.com/gatherq/gatherq/integration/redistest"
)

// soak is a fleet of processes under load, and whoever does it harm.
type soak struct {
	*scene
	random  *rand.Rand
	pace    time.Duration // between two faults, about
	wires   []*cuttable   // one for each worker
	keeps   time.Duration // what has ended; 0: the default
	gauged  time.Duration // between two gauges
	workers []*actor
	done    map[string]int // faults, by name
}

// TestSoak runs three workers and two producers, each a process, at half of their capacity, and does harm to them and to Redis, at random
// from a printed seed: nothing is lost, nothing has two outcomes, nothing hangs, nothing stays. It lasts GATHERQ_SOAK, 15 s where it is
// not set. Redis syncs before each answer: one that syncs each second and is killed loses what it answered while a sync was under way,
// and tasks run again whose runs it has forgotten. GATHERQ_SOAK_FAULTS=wire leaves processes and Redis alone: each wire has a latency of
// 1, 10 or 100 ms and is reset now and then.
func TestSoak(t *testing.T) {
	t.Parallel()
	lasts, err := time.ParseDuration(os.Getenv("GATHERQ_SOAK"))
	if err != nil {
		lasts = 15 * time.Second
	}
	seed := seedOf(t)
	s := &soak{
		scene:  newScene(t, redistest.Local(t, "--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "yes"), "soak"),
		random: rand.New(rand.NewPCG(seed, 1)), pace: min(lasts/6, 15*time.Second), done: map[string]int{},
	}
	s.gauged = max(lasts/500, time.Second)
	if inHours := lasts >= 30*time.Minute; inHours {
		s.keeps = 5 * time.Minute // so that as much goes as comes
	}
	stopGauge := gauged(s.gauged, func() {
		if n := redisSize(t.Context(), s.rdb); n != nil {
			s.rec.Note(history.Event{Kind: history.Gauge, ID: "redis", Count: n})
		}
	})
	defer stopGauge()
	const workers, slots, producers = 3, 8, 2
	for i := range workers {
		s.wires = append(s.wires, startCuttable(t, s.rdb.Options().Addr))
		s.workers = append(s.workers, nil)
		s.hire(i)
	}
	load := plan{Singles: 6, Doomed: 1, Members: 12, Sleep: 200 * time.Millisecond, Limit: 3 * patience}
	load.Every = 2 * load.Sleep * producers * time.Duration(load.Singles+load.Doomed+load.Members) / (workers * slots) // half of the slots
	var creators []*actor
	for i := range producers {
		load.Prefix = fmt.Sprintf("p%d.", i)
		creators = append(creators, act(t, part{Role: "producer", URL: s.redis.URL, Namespace: s.ns, History: s.path, Plan: load, Retention: s.keeps, Gauged: s.gauged}))
	}
	eventually(t, "work that was done", func() bool { return s.running() > 2*producers*load.Singles }) // all processes are there
	harm := s.harm
	if os.Getenv("GATHERQ_SOAK_FAULTS") == "wire" {
		harm = s.disturb
	}
	for end := time.Now().Add(lasts); time.Now().Before(end); {
		pause(t, s.pace/2+rand.N(s.pace))
		harm()
	}
	stopGauge()
	for _, c := range creators {
		c.signal(t, syscall.SIGTERM)
	}
	for _, c := range creators {
		s.ended(c)
		if code := c.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("a producer ended with %d: %s", code, clip(c.stderr.String(), 2000))
		}
	}
	s.serve("default")
	s.read()
	healthyIn(t, s.redis, s.ns)
	for _, w := range s.workers {
		s.drain(w)
	}
	s.settle()
	sum := judged(t, s.path, 1)
	fields := map[string]any{
		"seconds": lasts.Seconds(), "seed": seed, "faults": s.done, "created": sum.Created, "ended": sum.Ended, "states": sum.States, "awaits": sum.Awaits, "runs": sum.Runs, "events": sum.Events,
	}
	if s.keeps > 0 {
		grown := growth(t, s.path, s.keeps+2*time.Minute)
		for name, g := range grown {
			if g.PerHour > 10 {
				t.Errorf("%s grow by %.1f %% an hour, from %d on", name, g.PerHour, g.Mean)
			}
		}
		fields["sizes"] = grown
	}
	fields["passed"] = !t.Failed()
	figure(t, "soak", fields)
	if len(s.done) == 0 || sum.Ended < 3*int(lasts/load.Every) {
		t.Errorf("that is too little: %+v, faults %v", sum, s.done)
	}
}

// hire starts the worker of a wire.
func (s *soak) hire(i int) {
	s.Helper()
	w := act(s.T, part{Role: "worker", URL: s.wires[i].URL(), Namespace: s.ns, History: s.path, Concurrency: 8, Gauged: s.gauged})
	s.workers[i] = w
	select {
	case <-w.Ready:
	case <-w.exited:
		s.Fatalf("a worker ended: %s", w.stderr.String())
	case <-time.After(patience):
		s.Fatalf("a worker is not ready: %s", w.stderr.String())
	}
}

// harm does one thing of each kind, at random.
func (s *soak) harm() {
	s.Helper()
	i := s.random.IntN(len(s.workers))
	d := time.Second + time.Duration(s.random.Int64N(int64(4*time.Second)))
	if s.pace > 10*time.Second && s.random.IntN(3) == 0 {
		d += 15 * time.Second // so that it is taken for dead
	}
	pid := s.workers[i].cmd.Process.Pid
	switch s.random.IntN(5) {
	case 0:
		s.done["kill -9"]++
		s.kill(s.workers[i])
		s.hire(i)
	case 1:
		s.fault("stopped", []int{pid}, func() {
			s.workers[i].signal(s.T, syscall.SIGSTOP)
			pause(s.T, d)
			s.workers[i].signal(s.T, syscall.SIGCONT)
		})
	case 2:
		s.fault("cut", []int{pid}, func() {
			s.wires[i].cut("upstream", "downstream")
			pause(s.T, d)
			s.wires[i].mend()
		})
	case 3:
		s.fault("connections killed", nil, func() {
			list := s.rdb.ClientList(s.Context()).Val()
			for line := range strings.Lines(list) {
				id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
				if s.random.IntN(2) == 0 {
					s.rdb.ClientKillByFilter(s.Context(), "ID", id)
				}
			}
		})
	case 4:
		s.fault("redis restarted", nil, func() {
			s.rdb.Do(s.Context(), "debug", "crash-and-recover", 1000) // no answer: it is gone for a second
			eventually(s.T, "Redis is back", func() bool { return s.rdb.Ping(s.Context()).Err() == nil })
		})
	}
}

// disturb changes the latency of a wire, or resets its connections.
func (s *soak) disturb() {
	s.Helper()
	i := s.random.IntN(len(s.wires))
	ms := []int{1, 10, 100}[s.random.IntN(3)]
	if s.random.IntN(4) == 0 {
		s.fault("reset", nil, func() {
			s.wires[i].mend()
			s.wires[i].toxic("downstream", "reset_peer", `"timeout": 0`)
			pause(s.T, 50*time.Millisecond)
			s.wires[i].mend()
		})
		return
	}
	s.fault("latency "+strconv.Itoa(ms)+" ms", nil, func() {
		s.wires[i].mend()
		s.wires[i].toxic("downstream", "latency", fmt.Sprintf(`"latency": %d, "jitter": %d`, ms, ms/5))
	})
}

// fault does something, and says so in the history.
func (s *soak) fault(name string, procs []int, do func()) {
	s.done[name]++
	op := s.rec.Begin(history.Event{Kind: history.Fault, Fault: name, Procs: procs})
	do()
	op.End(history.OK, history.Event{})
}

// read looks for the ends that no await has seen.
func (s *soak) read() {
	s.Helper()
	events, err := history.Load(s.path)
	if err != nil {
		s.Fatal(err)
	}
	acked, seen := map[string]bool{}, map[string]bool{} // with whether it is a group
	own := map[string][]string{}
	for _, e := range events {
		switch {
		case e.Kind == history.Gather && e.Phase == history.Invoke:
			for id := range e.Own {
				own[e.ID] = append(own[e.ID], id)
			}
		case (e.Kind == history.Create || e.Kind == history.Gather) && e.Phase == history.OK:
			acked[e.ID] = e.Kind == history.Gather
			for _, id := range own[e.ID] {
				acked[id] = false
			}
		case e.Kind == history.Await && e.Phase == history.OK:
			seen[e.ID] = true
		}
	}
	for id, group := range acked {
		if seen[id] {
			continue
		}
		op := s.rec.Begin(history.Event{Kind: history.Read, ID: id})
		end, err := s.plan.seen(s.Context(), s.jobs, id, group)
		if err != nil {
			s.Fatalf("%s: %v", id, err)
		}
		op.End(history.OK, end)
	}
}
