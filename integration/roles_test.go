package integration

import (
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatherq/gatherq/integration/history"
	"github.com/gatherq/gatherq/integration/wire"
)

// playWorker: a worker runs a plan. Another one, which serves other queues, sees it die.
func playWorker(s *scene) {
	s.serve("other")
	a := s.starting(nil)
	s.until(s.played(), a)
}

// playReaper: a worker dies with all that a plan has, and the next one takes it over.
func playReaper(s *scene) {
	s.plan.Hold = true
	s.plan.Singles = 2 // none fails: what is charged is not the subject
	first := act(s.T, part{Role: "worker", URL: s.redis.URL, Namespace: s.ns, History: s.path, Concurrency: 16})
	<-first.Ready
	done := s.played()
	a := s.broken("worker")
	select {
	case <-a.Ready:
	case <-time.After(patience):
		s.Fatal("the worker is not ready: ", a.stderr.String())
	}
	eventually(s.T, "all of the plan in hand", func() bool { return s.running() == s.plan.Singles+s.plan.Members })
	s.kill(first)
	s.arm(nil, func() *actor { return a })
	s.until(done, a)
}

// running is how many runs have begun.
func (s *scene) running() (n int) {
	s.Helper()
	events, err := history.Load(s.path)
	if err != nil {
		s.Fatal(err)
	}
	for _, e := range events {
		if e.Kind == history.Run && e.Phase == history.Invoke {
			n++
		}
	}
	return n
}

// playReconciler: every delivery of a plan is deleted by hand before a worker comes.
func playReconciler(s *scene) {
	s.plan.Singles = 3
	if err := s.plan.create(s.Context(), s.jobs, s.rec); err != nil {
		s.Fatal(err)
	}
	eventually(s.T, "all deliveries marked", func() bool {
		for i := range s.plan.Singles {
			id, _, _ := s.plan.single(i)
			if s.rdb.HGet(s.Context(), "gq:{"+s.ns+":0}:r:"+id, "mk").Val() == "" {
				return false
			}
		}
		return true
	})
	n, err := asynq.NewInspectorFromRedisClient(s.rdb).DeleteAllPendingTasks(s.ns + ":default")
	if err != nil || n == 0 {
		s.Fatalf("%d deliveries deleted, %v", n, err)
	}
	op := s.rec.Begin(history.Event{Kind: history.Fault, Fault: "deliveries deleted"})
	op.End(history.OK, history.Event{})
	a := s.starting(func(name string) bool { return strings.HasSuffix(name, " sent") })
	s.until(s.played(), a)
}

// playProducer: a producer creates and awaits a plan. Where it dies, another one does the same again.
func playProducer(s *scene) {
	s.serve("default")
	var a *actor
	begun := make(chan struct{})
	s.arm(nil, func() *actor { <-begun; return a })
	a = s.broken("producer")
	close(begun)
	s.ended(a)
	if s.fault.Loss == wire.Dies && a.cmd.ProcessState.ExitCode() < 0 {
		a = act(s.T, part{Role: "producer", URL: s.redis.URL, Namespace: s.ns, History: s.path, Plan: s.plan})
		s.ended(a)
	}
	if code := a.cmd.ProcessState.ExitCode(); code != 0 {
		s.Errorf("the producer ended with %d: %s", code, a.stderr.String())
	}
}

func (s *scene) ended(a *actor) {
	s.Helper()
	select {
	case <-a.exited:
	case <-time.After(5 * patience): // longer than an await may take
		s.Fatalf("the %s does not end: %s", a.name, clip(a.stderr.String(), 4000))
	}
}
