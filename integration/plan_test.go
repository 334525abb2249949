package integration

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gatherq/gatherq/integration/history"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// plan is some work with fixed IDs, so that whoever plays it a second time meets what was there.
type plan struct {
	Prefix  string // of all IDs
	Singles int    // tasks: every third fails once, every fourth has a delay
	Doomed  int    // tasks that fail for good, in their second attempt
	Members int    // of one group, of which the first is a task with an ID of its own; 0: no group
	Sleep   time.Duration
	Hold    bool          // the first delivery of everything runs until its context ends
	Limit   time.Duration // of each await
	Every   time.Duration // the plan is played again and again, each time with IDs of its own; 0: once
}

// single is the i-th task of the plan.
func (p plan) single(i int) (id string, call jobs.Call[string], attempts int) {
	id, attempts = fmt.Sprintf("%ss%d", p.Prefix, i), 1
	a := stepArgs{Value: id, Sleep: p.Sleep, Hold: p.Hold}
	opts := []jobs.CallOption{jobs.ID(id)}
	if i%3 == 2 {
		a.Fails, attempts = 1, 2
		opts = append(opts, jobs.Retries(2), jobs.Backoff(10*time.Millisecond, 50*time.Millisecond))
	}
	if i%4 == 3 {
		opts = append(opts, jobs.Delay(200*time.Millisecond))
	}
	return id, step.Call(a, opts...), attempts
}

// doomed is the i-th task that fails for good.
func (p plan) doomed(i int) (id string, call jobs.Call[string], attempts int) {
	id = fmt.Sprintf("%sf%d", p.Prefix, i)
	return id, step.Call(stepArgs{Sleep: p.Sleep, Fails: 2}, jobs.ID(id), jobs.Retries(1), jobs.Backoff(10*time.Millisecond, 50*time.Millisecond)), 2
}

// group is the plan's group.
func (p plan) group() (id string, calls []jobs.Call[string], want []string) {
	id = p.Prefix + "g"
	for i := range p.Members {
		value := fmt.Sprintf("%s.%d", id, i)
		var opts []jobs.CallOption
		if i == 0 {
			opts = append(opts, jobs.ID(p.own()))
		}
		calls, want = append(calls, step.Call(stepArgs{Value: value, Sleep: p.Sleep, Hold: p.Hold}, opts...)), append(want, value)
	}
	return id, calls, want
}

// own is the ID of the group's first member, which is a task by itself.
func (p plan) own() string { return p.Prefix + "own" }

// ids are all IDs that can be awaited, with the attempts that each task needs, 0 for the group.
func (p plan) ids() map[string]int {
	all := map[string]int{}
	for i := range p.Singles {
		id, _, attempts := p.single(i)
		all[id] = attempts
	}
	for i := range p.Doomed {
		id, _, attempts := p.doomed(i)
		all[id] = attempts
	}
	if p.Members > 0 {
		all[p.Prefix+"g"], all[p.own()] = 0, 1
	}
	return all
}

// play creates everything and awaits it. A creation of which nobody knows whether it happened is done again; any other error ends it.
func (p plan) play(ctx context.Context, c *jobs.Client, rec *history.Recorder) error {
	if err := p.create(ctx, c, rec); err != nil {
		return err
	}
	var all sync.WaitGroup
	errs := make(chan error, len(p.ids()))
	for id, attempts := range p.ids() {
		all.Go(func() { errs <- p.await(ctx, c, rec, id, attempts == 0) })
	}
	all.Wait()
	close(errs)
	var failed error
	for err := range errs {
		failed = errors.Join(failed, err)
	}
	return failed
}

// rounds plays the plan at fixed intervals, whether or not the rounds before have ended, until ctx ends, and then ends what it began. An
// await that ends as unavailable is tried again here, and if it stays so is no failure: the history has it.
func (p plan) rounds(ctx context.Context, c *jobs.Client, rec *history.Recorder) error {
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	tick := time.NewTicker(p.Every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			all.Wait()
			return failed
		case <-tick.C:
		}
		round := p
		round.Prefix = fmt.Sprintf("%s%d.", p.Prefix, n)
		all.Go(func() {
			if err := round.play(context.WithoutCancel(ctx), c, rec); err != nil && !errors.Is(err, jobs.ErrUnavailable) {
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
			}
		})
	}
}

func (p plan) create(ctx context.Context, c *jobs.Client, rec *history.Recorder) error {
	create := func(e history.Event, call jobs.Call[string]) error {
		e.Kind = history.Create
		return acknowledged(rec, e, func() error {
			_, err := jobs.CreateTask(ctx, c, call)
			return err
		})
	}
	for i := range p.Singles {
		id, call, _ := p.single(i)
		if err := create(history.Event{ID: id, Want: []string{id}}, call); err != nil {
			return err
		}
	}
	for i := range p.Doomed {
		id, call, _ := p.doomed(i)
		if err := create(history.Event{ID: id, Want: []string{""}, Ends: []string{string(jobs.StateFailed)}}, call); err != nil {
			return err
		}
	}
	if p.Members == 0 {
		return nil
	}
	id, calls, want := p.group()
	return acknowledged(rec, history.Event{Kind: history.Gather, ID: id, Want: want, Own: map[string]string{p.own(): want[0]}}, func() error {
		_, err := jobs.Gather(ctx, c, calls, jobs.ID(id))
		return err
	})
}

// acknowledged does a creation until it is known whether it happened; while Redis is away, it tries again.
func acknowledged(rec *history.Recorder, e history.Event, do func() error) error {
	for {
		op := rec.Begin(e)
		err := do()
		switch kind := kindOf(err); {
		case err == nil:
			op.End(history.OK, history.Event{})
			return nil
		case kind == string(jobs.ErrIndeterminate):
			op.End(history.Info, history.Event{Err: kind})
		case kind == string(jobs.ErrUnavailable):
			op.End(history.Fail, history.Event{Err: kind})
		default:
			op.End(history.Fail, history.Event{Err: kind})
			return fmt.Errorf("%s %s: %w", e.Kind, e.ID, err)
		}
	}
}

// await awaits one ID of the plan.
func (p plan) await(ctx context.Context, c *jobs.Client, rec *history.Recorder, id string, group bool) error {
	once := func() error {
		ctx, cancel := context.WithTimeout(ctx, p.Limit)
		defer cancel()
		op := rec.Begin(history.Event{Kind: history.Await, ID: id, Limit: int64(p.Limit)})
		end, err := p.seen(ctx, c, id, group)
		if err != nil {
			op.End(history.Fail, history.Event{Err: kindOf(err)})
			return fmt.Errorf("await %s: %w", id, err)
		}
		op.End(history.OK, end)
		return nil
	}
	err := once()
	for again := 0; again < 3 && p.Every > 0 && errors.Is(err, jobs.ErrUnavailable); again++ {
		err = once()
	}
	return err
}

// seen waits for the end of an ID, and returns it as the history wants it.
func (p plan) seen(ctx context.Context, c *jobs.Client, id string, group bool) (history.Event, error) {
	if !group {
		out, err := await.Outcome(ctx, jobs.TaskByID[string](c, id))
		if err != nil {
			return history.Event{}, err
		}
		o := sight(out)
		return history.Event{Outcome: &o}, nil
	}
	outs, err := await.Settled(ctx, jobs.GroupByID[string](c, id))
	if err != nil {
		return history.Event{}, err
	}
	e := history.Event{Members: make([]history.Outcome, 0, len(outs))}
	for _, out := range outs {
		h := sight(out)
		if out.Index == 0 {
			h.ID = "" // its own record says how often it was delivered
		}
		e.Members = append(e.Members, h)
	}
	return e, nil
}
