package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// sim is how the runner knows the task type: by its name. The workers have the handler.
var sim = jobs.Define[json.RawMessage, jobs.Value]("sim",
	jobs.Retries(0), jobs.Timeout(24*time.Hour), jobs.Grace(10*time.Second))

// gathered is what the script remembers of a gather. A lenient one, made with return_exceptions, is met through its
// Settled view wherever the script names it.
type gathered struct {
	id      string
	of      []string
	lenient bool
}

// script is the state of a run between two operations: IDs, and nothing that Redis does not have as well.
type script struct {
	run    string // "<scenario>.<random>"
	specs  map[string]json.RawMessage
	tasks  map[string]string // IDs of the started ones
	groups map[string]gathered
	log    []map[string]any
}

func newScript(sc *scenario, run string) (*script, error) {
	s := &script{run: run, specs: map[string]json.RawMessage{}, tasks: map[string]string{},
		groups: map[string]gathered{}, log: []map[string]any{}}
	for _, task := range sc.Tasks {
		args, err := task.arguments()
		if err != nil {
			return nil, fmt.Errorf("task %q: %w", task.ID, err)
		}
		s.specs[task.ID] = args
	}
	return s, nil
}

// at is one operation's way to Redis: the script's names as handles of this operation's client.
type at struct {
	*script
	c *jobs.Client
}

func (s at) task(name string) *jobs.Task[jobs.Value] {
	return jobs.TaskByID[jobs.Value](s.c, s.tasks[name])
}

func (s at) group(g gathered) *jobs.Group[jobs.Value] { return jobs.GroupByID[jobs.Value](s.c, g.id) }

// fresh returns those of names that stand for tasks not started yet, each once.
func (s *script) fresh(names []string) (out []string) {
	for _, name := range names {
		_, isGroup := s.groups[name]
		if s.tasks[name] == "" && !isGroup && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// call is the call of a task not started yet.
func (s *script) call(name string) (jobs.Call[jobs.Value], error) {
	spec, ok := s.specs[name]
	if !ok {
		return jobs.Call[jobs.Value]{}, fmt.Errorf("the script names %q, which is no task and no group", name)
	}
	return sim.Call(spec, jobs.ID(s.run+"."+name)), nil
}

// start starts those of names that are not started yet, all at once.
func (s at) start(ctx context.Context, names ...string) error {
	names = s.fresh(names)
	calls := make([]jobs.Call[jobs.Value], 0, len(names))
	for _, name := range names {
		call, err := s.call(name)
		if err != nil {
			return err
		}
		calls = append(calls, call)
	}
	tasks, err := jobs.CreateTasks(ctx, s.c, calls)
	if err != nil {
		return err
	}
	for i, name := range names {
		s.tasks[name] = tasks[i].ID()
	}
	return nil
}

// do runs one operation and logs what it records.
func (s at) do(ctx context.Context, op operation) error {
	switch op.Op {
	case "sleep":
		return sleep(ctx, time.Duration(op.MS*float64(time.Millisecond)))
	case "create":
		return s.start(ctx, op.Task)
	case "gather":
		return s.gather(ctx, op)
	case "cancel":
		accepted, err := jobs.Cancel(ctx, s.task(op.Target), "")
		if err != nil {
			return err
		}
		s.log = append(s.log, map[string]any{"op": op.Op, "target": op.Target, "accepted": accepted})
	case "await":
		rec, err := s.await(ctx, op.Target)
		if err != nil {
			return err
		}
		rec["op"], rec["target"] = op.Op, op.Target
		s.log = append(s.log, rec)
	case "as_completed":
		items, err := s.asCompleted(ctx, op.Of)
		if err != nil {
			return err
		}
		s.log = append(s.log, map[string]any{"op": op.Op, "items": items})
	default:
		return fmt.Errorf("unknown op %q", op.Op)
	}
	return nil
}

// gather makes one durable group. All members new and distinct: one gather of calls; else those that are new are created first.
func (s at) gather(ctx context.Context, op operation) error {
	if fresh := s.fresh(op.Of); len(fresh) != len(op.Of) {
		if err := s.start(ctx, fresh...); err != nil {
			return err
		}
	}
	members := make([]jobs.AnyMember, 0, len(op.Of))
	for _, name := range op.Of {
		switch g, isGroup := s.groups[name]; {
		case isGroup && g.lenient:
			members = append(members, s.group(g).Settled())
		case isGroup:
			members = append(members, s.group(g))
		case s.tasks[name] != "":
			members = append(members, s.task(name))
		default:
			call, err := s.call(name)
			if err != nil {
				return err
			}
			members = append(members, call)
		}
	}
	g, err := jobs.Gather(ctx, s.c, jobs.Mixed(members...), jobs.ID(s.run+"."+op.As))
	if err != nil {
		return err
	}
	for _, name := range s.fresh(op.Of) { // calls with an ID of their own are tasks of that ID
		s.tasks[name] = s.run + "." + name
	}
	s.groups[op.As] = gathered{id: g.ID(), of: op.Of, lenient: op.ReturnExceptions}
	return nil
}

// await waits for a task or a group and returns its R: how it ended.
func (s at) await(ctx context.Context, name string) (map[string]any, error) {
	g, isGroup := s.groups[name]
	switch {
	case !isGroup:
		v, err := await.Result(ctx, s.task(name))
		return s.result(name, v, err)
	case g.lenient:
		outs, err := await.Settled(ctx, s.group(g))
		if err != nil { // cancelled as a whole
			return ended(err)
		}
		items, err := s.outcomes(g, outs)
		return map[string]any{"items": items}, err
	default:
		values, err := await.All(ctx, s.group(g))
		if err != nil {
			return ended(err)
		}
		items, err := s.values(g, values)
		return map[string]any{"items": items}, err
	}
}

// asCompleted starts the tasks that are not started and returns how they ended, in that order.
func (s at) asCompleted(ctx context.Context, names []string) ([]any, error) {
	if err := s.start(ctx, names...); err != nil {
		return nil, err
	}
	var tasks []*jobs.Task[jobs.Value]
	for _, name := range names {
		tasks = append(tasks, s.task(name))
	}
	items := []any{}
	for out, err := range await.AsCompleted(ctx, await.Of(tasks...)) {
		if err != nil {
			return nil, err
		}
		v, err := out.Result()
		item, err := s.result("", v, err)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// result returns R of one task or one member; of a group, v is the list of its members' values or outcomes.
func (s *script) result(name string, v jobs.Value, err error) (map[string]any, error) {
	if err != nil {
		return ended(err)
	}
	g, isGroup := s.groups[name]
	switch {
	case !isGroup:
		return map[string]any{"value": v}, nil
	case g.lenient:
		outs, err := jobs.Decode[[]jobs.Outcome[jobs.Value]](v)
		if err != nil {
			return nil, err
		}
		items, err := s.outcomes(g, outs)
		return map[string]any{"items": items}, err
	default:
		values, err := jobs.Decode[[]jobs.Value](v)
		if err != nil {
			return nil, err
		}
		items, err := s.values(g, values)
		return map[string]any{"items": items}, err
	}
}

func (s *script) outcomes(g gathered, outs []jobs.Outcome[jobs.Value]) ([]any, error) {
	if len(outs) != len(g.of) {
		return nil, fmt.Errorf("%d outcomes of %d members", len(outs), len(g.of))
	}
	items := []any{}
	for i, out := range outs {
		v, err := out.Result()
		item, err := s.result(g.of[i], v, err)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func (s *script) values(g gathered, values []jobs.Value) ([]any, error) {
	if len(values) != len(g.of) {
		return nil, fmt.Errorf("%d values of %d members", len(values), len(g.of))
	}
	items := []any{}
	for i, v := range values {
		item, err := s.result(g.of[i], v, nil)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

// ended returns R of what ended without a value. Anything but a handler's error and a cancel is nothing that asyncio could
// say, and ends the scenario.
func ended(err error) (map[string]any, error) {
	if e, ok := errors.AsType[*jobs.Error](err); ok {
		switch e.Kind {
		case jobs.ErrCancelled:
			return map[string]any{"cancelled": true}, nil
		case jobs.ErrFailed:
			return map[string]any{"error": e.Message}, nil
		}
	}
	return nil, err
}

// final returns the outcome of every task that was started, once all have ended.
func (s at) final(ctx context.Context) (map[string]any, error) {
	final := map[string]any{}
	for name := range s.tasks {
		out, err := await.Outcome(ctx, s.task(name))
		if err != nil {
			return nil, fmt.Errorf("final outcome of %q: %w", name, err)
		}
		v, err := out.Result()
		if final[name], err = s.result(name, v, err); err != nil {
			return nil, fmt.Errorf("final outcome of %q: %w", name, err)
		}
	}
	return final, nil
}

// sleep waits for d, or less when ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
