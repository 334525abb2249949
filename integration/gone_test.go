package integration

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// A master of a cluster is gone for good and nobody replaces it: awaits of what it had end as unavailable, those of what the others have go
// on, also when they ask in the same breath.
func TestDecision16_AMasterThatNobodyReplaces(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, 3*time.Second)
	for _, n := range s.Nodes {
		do(t, n.Client(t), "config", "set", "cluster-require-full-coverage", "no")
	}
	creator := client(t, s.Server, jobs.ClientConfig{})
	w := worker(t, s.Server)
	create := func(queue string) []*jobs.Task[json.RawMessage] {
		var tasks []*jobs.Task[json.RawMessage]
		for range 40 {
			task, err := jobs.CreateTask(t.Context(), creator, sim.Call(steps(`{"return":7}`), jobs.Queue(queue)))
			if err != nil {
				t.Fatal(err)
			}
			tasks = append(tasks, task)
		}
		return tasks
	}
	open, ended := create("nobody"), create("default")
	for _, task := range ended {
		if _, err := await.Result(t.Context(), task); err != nil {
			t.Fatal(err)
		}
	}
	w.kill(t)
	victim := s.Nodes[0]
	split := func(all []*jobs.Task[json.RawMessage]) (there, gone []string) {
		for _, task := range all {
			if len(victim.Client(t).Keys(t.Context(), "*:r:"+task.ID()).Val()) > 0 {
				gone = append(gone, task.ID())
			} else {
				there = append(there, task.ID())
			}
		}
		return there, gone
	}
	_, gone := split(open)
	there, _ := split(ended)
	if len(gone) == 0 || len(there) == 0 {
		t.Fatalf("%d on the master, %d on the others", len(gone), len(there))
	}

	const patient = 8 * time.Second
	c := client(t, s.Server, jobs.ClientConfig{Patience: patient})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := await.Result(ctx, jobs.TaskByID[json.RawMessage](c, there[0])); err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	began := time.Now()
	for _, id := range gone {
		waiting.Go(func() {
			_, err := await.Result(ctx, jobs.TaskByID[json.RawMessage](c, id))
			if took := time.Since(began); !errors.Is(err, jobs.ErrUnavailable) || took < patient {
				t.Errorf("of the master that is gone: %v after %v", err, took)
			}
		})
	}
	eventually(t, "awaits", func() bool { return c.Stats().AwaitsOpen == len(gone) })
	s.Nodes[3].Kill(t) // its replica
	victim.Kill(t)
	over := make(chan struct{})
	go func() { waiting.Wait(); close(over) }()
	worst, asked := time.Duration(0), 0
	for done := false; !done && time.Since(began) < 3*patient; asked++ { // for as long as looks at the master that is gone get no answer
		id, before := there[asked%len(there)], time.Now()
		if out, err := await.Result(ctx, jobs.TaskByID[json.RawMessage](c, id)); err != nil || string(out) != "7" {
			t.Fatalf("of the others: %s, %v after %v", out, err, time.Since(before))
		}
		worst = max(worst, time.Since(before))
		select {
		case <-over:
			done = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Logf("%d awaits of the others, %v at most; %v until the %d of the master that is gone ended", asked, worst, time.Since(began), len(gone))
	if worst > 5*time.Second {
		t.Errorf("an await of the others took %v", worst)
	}
	select {
	case <-over:
	case <-ctx.Done():
	case <-time.After(time.Second):
		t.Errorf("awaits of the master that is gone have not ended after %v, the patience is %v", time.Since(began), patient)
	}
}
