//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/tasks"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// reading is what the registry says now: each line of the text format by its name and labels.
func reading(t *testing.T, w workerState) map[string]float64 {
	t.Helper()
	families, err := newRegistry(w).Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += "{" + l.GetValue() + "}"
			}
			out[name] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

// A hundred handlers that ignore their end, in ten slots: no more than ten ever live, each slot is accounted for, each task has its
// outcome while its handler runs on, and nothing leaks.
func TestDecision30_StuckHandlersAreBoundedAndCounted(t *testing.T) {
	const slots, all = 10, 100
	_, _, client := redisFor(t)
	w, err := jobs.NewWorker(client, jobs.WorkerConfig{Concurrency: slots})
	if err != nil {
		t.Fatal(err)
	}
	var live, most atomic.Int64
	release := make(chan struct{})
	deaf := jobs.Define[int, int]("deaf", jobs.Timeout(5*time.Millisecond), jobs.Grace(0), jobs.Retries(0))
	jobs.Handle(w, deaf, func(_ context.Context, n int) (int, error) {
		now := live.Add(1)
		defer live.Add(-1)
		for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
		}
		<-release
		return n, nil
	})
	ctx, stop := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	defer run.Wait()
	defer stop()
	<-w.Ready()
	h := &health{worker: w, answers: &answers{start: time.Now().Add(-time.Hour)}, draining: ctx.Done()}
	h.answers.last.Store(int64(time.Hour))

	list, err := jobs.CreateTasks(t.Context(), client, deaf.Calls(make([]int, all/2)...))
	if err != nil {
		t.Fatal(err)
	}
	group, err := jobs.Gather(t.Context(), client, deaf.Calls(make([]int, all/2)...))
	if err != nil {
		t.Fatal(err)
	}
	for wave := 1; wave <= all/slots; wave++ {
		var got map[string]float64
		eventually(t, "ten more tasks ended without their handlers", func() bool {
			got = reading(t, w)
			return got["gatherq_tasks_ended_total{timed_out}"] == float64(slots*wave)
		})
		for name, want := range map[string]float64{
			"gatherq_slots": slots, "gatherq_slots_free": 0, "gatherq_slots_stuck": slots, "gatherq_handlers_running": slots,
			"gatherq_deliveries_total": float64(slots * wave), "gatherq_retries_total": 0,
		} {
			if got[name] != want {
				t.Errorf("wave %d: %s is %v, want %v", wave, name, got[name], want)
			}
		}
		if err := h.ready(t.Context()); err == nil || !strings.Contains(err.Error(), "10 of 10 slots are stuck") {
			t.Errorf("wave %d: ready says %v", wave, err)
		}
		for range slots {
			release <- struct{}{}
		}
	}
	for _, task := range list {
		if out, err := await.Outcome(t.Context(), task); err != nil || out.State != jobs.StateTimedOut || !errors.Is(out.Err, jobs.ErrTimedOut) {
			t.Errorf("%s: %+v, %v", task.ID(), out, err)
		}
	}
	outs, err := await.Settled(t.Context(), group)
	if err != nil || len(outs) != all/2 {
		t.Errorf("%d members, %v", len(outs), err)
	}
	for _, out := range outs {
		if out.State != jobs.StateTimedOut {
			t.Errorf("member %d: %+v", out.Index, out)
		}
	}
	var got map[string]float64
	eventually(t, "all slots are free again", func() bool {
		got = reading(t, w)
		return got["gatherq_slots_stuck"] == 0 && got["gatherq_slots_free"] == slots && got["gatherq_handlers_running"] == 0 &&
			got["gatherq_run_seconds{deaf}"] == all
	})
	if got = reading(t, w); got["gatherq_deliveries_total"] != all || got["gatherq_tasks_ended_total{timed_out}"] != all || got["gatherq_tasks_ended_total{succeeded}"] != 0 {
		t.Errorf("in the end %v deliveries and %v timed out", got["gatherq_deliveries_total"], got["gatherq_tasks_ended_total{timed_out}"])
	}
	// Members that waited too long for a slot behind a stuck one went back, and began with a later delivery.
	if first, back := got["gatherq_start_delay_seconds{deaf}"], got["gatherq_given_back_total"]; first > all || first+back < all {
		t.Errorf("%v began with their first delivery, %v were given back", first, back)
	}
	if n := most.Load(); n != slots {
		t.Errorf("%d handlers lived at once", n)
	}
}

// scrape returns one line of a process' metrics.
func scrape(t *testing.T, addr, name string) string {
	t.Helper()
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("no metric %s", name)
	return ""
}

// Endless loops that hear nothing, alone and as a member of a gather: their tasks end, the process says who they are, lives on and
// works in the slots that are left. A drain waits for none of them.
func TestDecision30_EndlessLoops(t *testing.T) {
	url, _, client := redisFor(t)
	p := start(t, nil, "--redis", url, "--admin", "127.0.0.1:0", "--allow-sim", "--concurrency", "4", "--drain", "1s")
	addr := p.admin(t)
	eventually(t, "the worker is ready", isReady(addr))
	opts := []jobs.CallOption{jobs.Timeout(50 * time.Millisecond), jobs.Grace(50 * time.Millisecond)}
	spin := json.RawMessage(`{"steps":[{"spin_ms":600000}]}`)
	task, err := jobs.CreateTask(t.Context(), client, tasks.Sim.Call(spin, opts...))
	if err != nil {
		t.Fatal(err)
	}
	if out := result(t, task); out.State != jobs.StateTimedOut || !errors.Is(out.Err, jobs.ErrTimedOut) {
		t.Errorf("the loop ended as %v: %v", out.State, out.Err)
	}
	eventually(t, "one stuck slot", func() bool { return scrape(t, addr, "gatherq_slots_stuck") == "1" })
	if s, err := ready(addr); err != nil || s != "ok" {
		t.Errorf("with one stuck slot of four: %q, %v", s, err)
	}
	group, err := jobs.Gather(t.Context(), client, []jobs.Member[json.RawMessage]{
		tasks.Sim.Call(spin, opts...), tasks.Sim.Call(json.RawMessage(`{"steps":[{"return":1}]}`)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	outs, err := await.Settled(ctx, group)
	if err != nil || outs[0].State != jobs.StateTimedOut || string(outs[1].Value) != "1" {
		t.Errorf("the gather: %+v, %v", outs, err)
	}
	eventually(t, "/readyz fails at half of the slots", func() bool {
		s, err := ready(addr)
		return err == nil && s == "2 of 4 slots are stuck in handlers that ignore their end"
	})
	for _, id := range []string{task.ID(), group.Member(0).ID()} {
		if !strings.Contains(p.stderr.String(), `msg="a handler ignores its end; its slot stays taken until it returns" task_id=`+id+" type=sim") {
			t.Errorf("the log does not name %s: %s", id, p.stderr.String())
		}
	}
	echo, err := jobs.CreateTask(t.Context(), client, tasks.Echo.Call(json.RawMessage(`"alive"`)))
	if err != nil {
		t.Fatal(err)
	}
	if out := result(t, echo); string(out.Value) != `"alive"` {
		t.Errorf("beside them: %+v", out)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A handler that ends the process takes its worker along, three times; then its task is a crash loop, and the metric of whoever ended
// it says so. Its neighbour's delivery is not charged.
func TestDecision30_AHandlerThatExits(t *testing.T) {
	url, _, client := redisFor(t)
	exits := 0
	var loop sync.WaitGroup
	defer loop.Wait()
	begin := func() *process {
		return start(t, nil, "--redis", url, "--admin", "127.0.0.1:0", "--allow-sim", "--concurrency", "2")
	}
	p := begin()
	task, err := jobs.CreateTask(t.Context(), client, tasks.Sim.Call(json.RawMessage(`{"steps":[{"exit":7}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan jobs.Outcome[json.RawMessage], 1)
	loop.Go(func() {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		out, err := await.Outcome(ctx, task)
		if err != nil {
			t.Error(err)
		}
		ended <- out
	})
	for {
		select {
		case <-p.done:
			if code := p.cmd.ProcessState.ExitCode(); code != 7 {
				t.Errorf("exit code %d", code)
			}
			exits++
			p = begin()
			continue
		case out := <-ended:
			if out.State != jobs.StateCrashLoop || !errors.Is(out.Err, jobs.ErrCrashLoop) || out.Attempt != 1 {
				t.Errorf("it ended as %+v", out)
			}
		}
		break
	}
	if exits != 3 {
		t.Errorf("it ended %d workers, want 3", exits)
	}
	addr := p.admin(t)
	for name, want := range map[string]string{`gatherq_tasks_ended_total{state="crash_loop"}`: "1", `gatherq_repairs_total{kind="dead_worker"}`: "1"} {
		eventually(t, name+" is "+want, func() bool { return scrape(t, addr, name) == want }) // counted once the script has answered
	}
}
