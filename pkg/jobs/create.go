package jobs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/record"
)

// createBatch is how many tasks CreateTasks puts into one pipeline.
const createBatch = 256

// CreateTask makes the call durable and returns at once, without waiting for a worker. An ID that exists is OnConflict's to
// decide: by default it returns the task that is there; with another type or other arguments it is ErrConflict.
//
// Every error but ErrIndeterminate and ErrNotDurable (the handle is returned, the task exists) means: nothing was stored.
// ErrIndeterminate carries the ID, also a generated one; the same call with that ID is safe. Where ctx ended, the error wraps its
// cause as well.
func CreateTask[R any](ctx context.Context, in Creator, call Call[R]) (*Task[R], error) {
	c, err := clientOf(in)
	if err != nil {
		return nil, err
	}
	p, refused := c.plan(&call.callSpec)
	if refused != nil {
		c.refused.Add(1)
		return nil, refused
	}
	c.create(ctx, []*creation{p})
	if !stands(p.err) {
		return nil, p.err
	}
	return TaskByID[R](c, p.task.ID), p.err
}

// CreateTasks creates many independent tasks in few round trips. Each stands alone, as with CreateTask: the error joins one
// *RejectedError or *Error with its Index for each that has one, and tasks[i] is nil there, unless it is ErrNotDurable.
func CreateTasks[R any](ctx context.Context, in Creator, calls []Call[R]) (tasks []*Task[R], err error) {
	c, err := clientOf(in)
	if err != nil {
		return nil, err
	}
	tasks = make([]*Task[R], len(calls))
	errs := make([]error, len(calls))
	batch, places := make([]*creation, 0, createBatch), make([]int, 0, createBatch)
	flush := func() {
		c.create(ctx, batch)
		for i, p := range batch {
			at := places[i]
			errs[at] = placed(p.err, at)
			if stands(p.err) {
				tasks[at] = TaskByID[R](c, p.task.ID)
			}
		}
		batch, places = batch[:0], places[:0]
	}
	for i := range calls {
		p, refused := c.plan(&calls[i].callSpec)
		if refused != nil {
			c.refused.Add(1)
			errs[i] = refused.at(i)
			continue
		}
		batch, places = append(batch, p), append(places, i)
		if len(batch) == createBatch {
			flush()
		}
	}
	flush()
	return tasks, errors.Join(errs...)
}

// placed notes the place of a call among several in its error.
func placed(err error, at int) error {
	if r, ok := errors.AsType[*RejectedError](err); ok {
		return r.at(at)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		c := *e
		c.Index = at
		return &c
	}
	return err
}

// creation is a call on its way to become a record.
type creation struct {
	task  record.NewTask
	blind bool // the ID is new and the time is now: the answer is known, so record and delivery share a trip
	err   error
}

// plan makes a record to be of a call, without touching Redis.
func (c *Client) plan(spec *callSpec) (*creation, *RejectedError) {
	s, r := spec.resolve(c.cfg.Retention, nil)
	if r != nil {
		return nil, r
	}
	if r := checkKind(s.id, groupPrefix); r != nil {
		return nil, r
	}
	args, r := encodeArgs(spec.args, c.cfg.MaxArgs)
	if r != nil {
		return nil, r
	}
	p := &creation{task: record.NewTask{
		ID: s.id, Type: spec.typ, Queue: s.queue, Args: record.Wrap(args), Digest: digest(spec.typ, args), Options: s.task.Encode(),
		Retention: s.retention, MaxPending: s.maxPending, Delay: s.delay, At: s.at, Deadline: s.deadline, OnConflict: s.onConflict(),
	}}
	if s.id == "" {
		p.task.ID = taskPrefix + newUUID()
		p.blind = !s.later()
	} else {
		p.task.Nonce = newUUID()
	}
	return p, nil
}

// newUUID returns a UUID of version 7, so that IDs sort by their time.
func newUUID() string { return uuid.Must(uuid.NewV7()).String() }

// create stores a batch and hands it over; what became of each stands in its err.
//
// The record always comes first. Once it stands, the task exists: a hand-over that fails is no error of the creation, the
// fleet repeats what stayed unmarked (decision 7).
func (c *Client) create(ctx context.Context, batch []*creation) {
	if len(batch) == 0 {
		return
	}
	var bytes int64
	for _, p := range batch {
		bytes += taskBytes + int64(len(p.task.Args))
	}
	err := c.ready(ctx, bytes)
	if err == nil {
		err = c.agree(ctx)
	}
	if err != nil {
		for _, p := range batch {
			p.err = unstored(p.task.ID, err)
		}
		c.refused.Add(uint64(len(batch)))
		return
	}
	var together, apart []*creation
	for _, p := range batch {
		if p.blind {
			together = append(together, p)
		} else {
			apart = append(apart, p)
		}
	}
	if len(together) > 0 {
		hs := make([]record.HandOver, len(together))
		for i, p := range together {
			p.task.Inbox = c.engine.Expect(p.task.ID)
			hs[i] = handOver(p.task, 1)
		}
		calls := c.calls(together)
		c.enqueue(ctx, hs, calls...)
		for i, p := range together {
			_, p.err = c.answer(p.task.ID, calls[i])
			if p.task.Inbox != "" {
				c.engine.Created(p.task.ID, stands(p.err))
			}
		}
	}
	if len(apart) > 0 {
		calls := c.calls(apart)
		_ = c.engine.Conn().Do(ctx, calls...) // each call has its own error
		var hs []record.HandOver
		for i, p := range apart {
			var made record.Created
			if made, p.err = c.answer(p.task.ID, calls[i]); stands(p.err) && made.Status == record.New && !made.Waits {
				hs = append(hs, handOver(p.task, made.Number))
			}
		}
		c.enqueue(ctx, hs)
	}
	for _, p := range batch {
		if stands(p.err) {
			c.created.Add(1)
		} else {
			c.refused.Add(1)
		}
	}
}

// taskBytes is about what a task takes in Redis beside its arguments: record, message, an entry of the open work.
const taskBytes = 1 << 10

// agree makes sure before the first write that all clients of the namespace look for an ID in the same place.
func (c *Client) agree(ctx context.Context) error { return disagreement(c.engine.Agree(ctx)) }

// disagreement makes a rejection of what another kind of client would refuse.
func disagreement(err error) error {
	if wrong, ok := errors.AsType[*core.NamespaceError](err); ok {
		r := rejected("namespace", wrong.Error())
		r.whole = true
		return r
	}
	return err
}

func (c *Client) calls(batch []*creation) []*conn.Call {
	calls := make([]*conn.Call, len(batch))
	for i, p := range batch {
		calls[i] = c.engine.Records().CreateCall(p.task)
	}
	return calls
}

// enqueue hands over what the records wait for, with before ahead of it in the same pipeline, and has the marks follow.
func (c *Client) enqueue(ctx context.Context, hs []record.HandOver, before ...*conn.Call) {
	if len(hs) == 0 {
		return
	}
	if err := c.engine.Carrier().Enqueue(ctx, hs, before...); err != nil {
		c.cfg.Logger.Debug("not handed over; a worker repeats it", "count", len(hs), "err", err)
		return
	}
	c.marks.add(hs...)
}

func handOver(t record.NewTask, number int64) record.HandOver {
	return record.HandOver{Queue: t.Queue, Delivery: record.Delivery{Refs: []record.Ref{{ID: t.ID, Number: number}}}}
}

// answer reads what became of a creation.
func (c *Client) answer(id string, call *conn.Call) (record.Created, error) {
	made, err := record.ReadCreated(call)
	if err != nil {
		return made, unanswered(id, err)
	}
	if err := conflict(id, made.Status); err != nil {
		return made, err
	}
	return made, notDurable(id, call.Short)
}

// conflict is the error of a creation whose ID was known.
func conflict(id string, status record.CreateStatus) error {
	var why string
	switch status {
	case record.ConflictID:
		why = "exists"
	case record.ConflictArgs:
		why = "exists with another type or other arguments"
	default:
		return nil
	}
	return &RejectedError{Kind: ErrConflict, Field: "id", Why: id + " " + why}
}

// unanswered is the error of a write that Redis did not answer, or answered with an error.
func unanswered(id string, err error) error {
	if lost, ok := errors.AsType[*conn.Error](err); ok {
		if lost.Doubt {
			return &Error{Kind: ErrIndeterminate, ID: id, cause: err}
		}
		return &Error{Kind: ErrUnavailable, ID: id, cause: err}
	}
	if full, ok := errors.AsType[*core.FullError](err); ok {
		return &RejectedError{Kind: ErrBackpressure, Field: "redis", Why: full.Error()}
	}
	if fullMemory(err) {
		return &RejectedError{Kind: ErrBackpressure, Field: "redis", Why: "out of memory"}
	}
	return &Error{Kind: ErrUnavailable, ID: id, cause: err}
}

// unstored is the error of what came before a write: whatever was not answered, nothing is stored.
func unstored(id string, err error) error {
	if r, ok := errors.AsType[*RejectedError](err); ok {
		return r
	}
	err = unanswered(id, err)
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == ErrIndeterminate {
		e.Kind = ErrUnavailable
	}
	return err
}

// fullMemory recognises Redis' refusal at maxmemory, also from inside a script.
func fullMemory(err error) bool {
	return slices.ContainsFunc([]string{"OOM ", "-OOM "}, func(word string) bool {
		return strings.HasPrefix(err.Error(), word) || strings.Contains(err.Error(), ": "+word)
	})
}
