package main

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// lookTime bounds the look at a task whose await gave up: the program is about to end.
const lookTime = 2 * time.Second

// ending is how the await of one subject went.
type ending struct {
	subject
	known chan struct{}            // closed when the subject is
	done  chan struct{}            // closed when the waiting is over
	out   jobs.Outcome[jobs.Value] // how it ended; of a group without values
	err   error                    // about the waiting
}

// await waits for all ids and writes what they ended with, in their order. It returns how to exit: the first code, in that order, that is
// not 0. Whatever there is to say about an ID has been said by then.
func (s *session) await(ctx context.Context, ids []string, flags awaitFlags) error {
	waiting, stop := flags.context(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	all.Go(func() { s.sayWhy(waiting, ids[0]) })
	ends := make([]*ending, len(ids))
	for i, id := range ids {
		e := &ending{subject: subject{id: id}, known: make(chan struct{}), done: make(chan struct{})}
		ends[i] = e
		all.Go(func() { s.end(waiting, e, flags) })
	}
	code := cli.ExitOK
	for _, e := range ends {
		if err := s.deliver(ctx, waiting, e, flags); err != nil {
			s.report(ctx, e, err, flags)
			if code == cli.ExitOK {
				code = cli.Code(err)
			}
		}
		if err := s.out.failed(); err != nil {
			return err
		}
	}
	return cli.Exit(code, nil)
}

// sayWhyAfter is how long an await lasts before somebody may wonder whether it ever ends.
const sayWhyAfter = 3 * time.Second

// sayWhy says why id has not begun, if that is so after a while.
func (s *session) sayWhy(ctx context.Context, id string) {
	timer := time.NewTimer(sayWhyAfter)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	info, err := jobs.Inspect(ctx, jobs.TaskByID[jobs.Value](s.Client, id))
	if err == nil && info.State == jobs.StatePending && info.Waits != "" {
		s.out.say("producer: %s is pending: %s", id, info.Waits)
	}
}

// streams reports whether the results of a group are written while it runs. Otherwise its outcome is awaited first: a group that fails
// shows its failing member alone.
func (w *awaitFlags) streams() bool { return w.asCompleted || w.returnErrors }

// end waits for one subject, as far as that is possible without its values: those of a group may be more than memory holds.
func (s *session) end(ctx context.Context, e *ending, flags awaitFlags) {
	defer close(e.done)
	sub, err := s.subject(ctx, e.id)
	if err == nil {
		e.subject = sub
	}
	close(e.known)
	switch {
	case err != nil:
		e.err = err
	case !e.isGroup:
		e.out, e.err = await.Outcome(ctx, s.task(sub))
	case !flags.streams():
		e.out, e.err = groupOutcome(ctx, s.group(sub))
	}
}

// deliver waits for what end does and writes the results. The error says how to exit; what is to be said of it is report's to decide.
func (s *session) deliver(ctx, waiting context.Context, e *ending, flags awaitFlags) error {
	<-e.known
	if !e.isGroup {
		<-e.done
		if e.err != nil {
			return e.err
		}
		return s.deliverTask(e.out)
	}
	if flags.streams() {
		return s.deliverStream(ctx, waiting, e, flags)
	}
	stop := s.follow(waiting, e.subject)
	<-e.done
	stop(e.err == nil && e.out.Err == nil)
	switch {
	case e.err != nil:
		return e.err
	case e.out.Err != nil:
		return s.deliverFailure(ctx, e)
	}
	// All of it is there: the time-out of the waiting does not cut it in two.
	return s.deliverMembers(ctx, e.subject, await.InOrder(ctx, s.group(e.subject)), flags, func(bool) {})
}

// deliverStream writes the members of a group while it runs.
func (s *session) deliverStream(ctx, waiting context.Context, e *ending, flags awaitFlags) error {
	g := s.group(e.subject)
	results := await.InOrder[jobs.Value]
	if flags.asCompleted {
		results = await.AsCompleted[jobs.Value]
	}
	stop := func(bool) {}
	if !isTerminal(s.out.stdout) { // where it is one, the lines are the progress
		stop = s.follow(waiting, e.subject)
	}
	if err := s.deliverMembers(ctx, e.subject, results(waiting, g), flags, stop); err != nil {
		return err
	}
	return s.cancelledWhole(ctx, e.subject)
}

// deliverTask writes how a task ended.
func (s *session) deliverTask(out jobs.Outcome[jobs.Value]) error {
	if s.out.json {
		s.out.object(out)
	} else if out.Err == nil {
		line, err := valueLine(out.Value)
		if err != nil {
			return err
		}
		s.out.line(line)
	}
	if out.Err == nil {
		return nil
	}
	s.out.explain(out.ID, out.Err)
	return cli.Exit(cli.Code(out.Err), nil)
}

// deliverFailure writes the member at which a group failed, alone, and what becomes of the others.
func (s *session) deliverFailure(ctx context.Context, e *ending) error {
	if s.out.json {
		s.out.object(e.out)
	}
	s.out.explain(e.id, e.out.Err)
	s.runsOn(ctx, e.subject)
	return cli.Exit(cli.Code(e.out.Err), nil)
}

// deliverMembers writes the members of a group as they come. Without --return-errors it stops behind the first that did not succeed. It
// calls stop, which ends the progress bar, before it says anything.
func (s *session) deliverMembers(
	ctx context.Context, sub subject, members iter.Seq2[jobs.Outcome[jobs.Value], error], flags awaitFlags, stop func(all bool),
) error {
	for out, err := range members {
		if err == nil {
			err = s.deliverMember(out, flags)
		}
		if err == nil {
			err = s.out.failed()
		}
		if err != nil {
			stop(false)
			return err
		}
		if out.Err != nil && !flags.returnErrors {
			stop(false)
			s.out.explain(out.ID, out.Err)
			s.runsOn(ctx, sub)
			return cli.Exit(cli.Code(out.Err), nil)
		}
	}
	stop(true)
	return nil
}

// deliverMember writes one line.
func (s *session) deliverMember(out jobs.Outcome[jobs.Value], flags awaitFlags) error {
	if s.out.json {
		s.out.object(out)
		return nil
	}
	var line []byte
	var err error
	if out.Err != nil {
		if !flags.returnErrors {
			return nil // stands on stderr alone
		}
		line, err = errorItem(out.Err)
	} else {
		line, err = valueLine(out.Value)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", out.ID, err)
	}
	if flags.asCompleted {
		s.out.line(strconv.AppendInt(nil, int64(out.Index), 10), []byte{'\t'}, line)
		return nil
	}
	s.out.line(line)
	return nil
}

// runsOn says what becomes of a group whose outcome is a failure, unless all its members have ended.
func (s *session) runsOn(ctx context.Context, sub subject) {
	if ctx.Err() != nil {
		return
	}
	look, stop := context.WithTimeout(ctx, lookTime)
	defer stop()
	info, err := jobs.Inspect(look, s.group(sub))
	if err != nil {
		return
	}
	total, ended := members(info)
	if ended == total {
		return
	}
	s.out.say("producer: the other members run on, %d of %d have ended: watch them with %q, cancel them with %q",
		ended, total, s.app.hint("status", sub.id, "--watch"), s.app.hint("cancel", sub.id))
}

// members counts the members of a group, and those that have ended.
func members(info jobs.Info) (total, ended int) {
	for state, n := range info.Counts {
		total += n
		if state.Final() {
			ended += n
		}
	}
	return total, ended
}

// report says what err is, unless that has been said, where it is about the waiting.
func (s *session) report(ctx context.Context, e *ending, err error, flags awaitFlags) {
	if silent(err) {
		return
	}
	var how string
	switch cli.Code(err) {
	case cli.ExitInterrupted:
		how = "interrupted"
	case cli.ExitTimeout:
		how = fmt.Sprintf("await timed out after %v", flags.timeout)
	default:
		s.out.fail(e.id, err)
		return
	}
	if s.out.json {
		s.out.object(s.standing(ctx, e.id))
	}
	s.detached(how, e.id)
}

// detached says that the work goes on, and how to come back to it.
func (s *session) detached(how, id string) {
	s.out.say("producer: %s; %s goes on: await it with %q, cancel it with %q", how, id, s.app.hint("await", id), s.app.hint("cancel", id))
}

// standing is a subject that has not ended, as a line of JSON.
type standing struct {
	ID    string     `json:"id"`
	State jobs.State `json:"state,omitempty"`
}

// standing looks at a subject whose await has ended before it did.
func (s *session) standing(ctx context.Context, id string) standing {
	look, stop := context.WithTimeout(context.WithoutCancel(ctx), lookTime)
	defer stop()
	line := standing{ID: id}
	if info, err := jobs.Inspect(look, jobs.TaskByID[jobs.Value](s.Client, id)); err == nil {
		line.State = info.State
	}
	return line
}

// errorItem returns the line that stands for a member that did not succeed.
func errorItem(err error) ([]byte, error) {
	return encode(struct {
		Error fault `json:"error"`
	}{faultOf(err)})
}
