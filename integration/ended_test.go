package integration

import (
	"context"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/record"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// What has ended stays as it ended: the same creation again, a cancel, and deliveries that come once more change nothing in its record,
// and run nothing.
func TestDecision22_NothingChangesWhatHasEnded(t *testing.T) {
	t.Parallel()
	s := redistest.Any(t)
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
	w := worker(t, s)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	programs := map[string]jobs.Call[json.RawMessage]{
		"succeeded": sim.Call(steps(`{"incr":"n"},{"return":1}`), jobs.ID("succeeded")),
		"failed":    sim.Call(steps(`{"incr":"n"},{"raise":"it broke","retry":false}`), jobs.ID("failed")),
		"timed_out": sim.Call(steps(`{"incr":"n"},{"sleep_ms":60000}`), jobs.ID("timed_out"), jobs.Timeout(50*time.Millisecond)),
		"cancelled": sim.Call(steps(`{"incr":"n"},{"return":1}`), jobs.ID("cancelled"), jobs.Queue("nobody")),
	}
	members := []jobs.Member[json.RawMessage]{}
	for range 3 {
		members = append(members, sim.Call(steps(`{"incr":"n"},{"return":1}`)))
	}
	gather := func() *jobs.Group[json.RawMessage] {
		g, err := jobs.Gather(ctx, c, members, jobs.ID("group"))
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	create := func(state string) *jobs.Task[json.RawMessage] {
		task, err := jobs.CreateTask(ctx, c, programs[state])
		if err != nil {
			t.Fatal(err)
		}
		return task
	}
	for state := range programs {
		task := create(state)
		if state == "cancelled" {
			if accepted, err := jobs.Cancel(ctx, task, ""); !accepted || err != nil {
				t.Fatal(accepted, err)
			}
		}
		if out, err := await.Outcome(ctx, task); err != nil || string(out.State) != state {
			t.Fatalf("%s: %+v, %v", state, out, err)
		}
	}
	g := gather()
	if _, err := await.All(ctx, g); err != nil {
		t.Fatal(err)
	}
	stored := func() map[string]map[string]string {
		out := map[string]map[string]string{}
		for _, key := range append([]string{"group"}, "succeeded", "failed", "timed_out", "cancelled") {
			out[key] = rdb.HGetAll(ctx, "gq:{gatherq:0}:r:"+key).Val()
		}
		return out
	}
	before, ran := stored(), simKey(t, rdb, "n")

	queue := asynq.NewClientFromRedisClient(rdb)
	deliveries := 0
	for state := range programs {
		if task := create(state); inspect(t, task).State != jobs.State(state) {
			t.Errorf("%s is %s after the same creation", state, inspect(t, task).State)
		}
		if accepted, err := jobs.Cancel(ctx, jobs.TaskByID[json.RawMessage](c, state), "too late"); accepted || err != nil {
			t.Errorf("a cancel of what is %s: %v, %v", state, accepted, err)
		}
		for number := range int64(3) { // the one that ended it, one that never was, and the next
			message := record.Delivery{Refs: []record.Ref{{ID: state, Number: number}}}.Encode()
			if _, err := queue.Enqueue(asynq.NewTask(carrier.TaskType, message), asynq.Queue("gatherq:default")); err != nil {
				t.Fatal(err)
			}
			deliveries++
		}
	}
	gather()
	if accepted, err := jobs.Cancel(ctx, g, "too late"); accepted || err != nil {
		t.Errorf("a cancel of the group: %v, %v", accepted, err)
	}
	eventually(t, "all of these deliveries dropped", func() bool {
		return w.metric(t, `gatherq_deliveries_dropped_total{reason="ended"}`) >= float64(deliveries)
	})
	after := stored()
	for id, is := range after {
		if !maps.Equal(is, before[id]) || len(is) == 0 {
			t.Errorf("%s changed from %q to %q", id, before[id], is)
		}
	}
	if n := simKey(t, rdb, "n"); n != ran {
		t.Errorf("%d more ran", n-ran)
	}
	healthy(t, s)
}
