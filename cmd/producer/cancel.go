package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func newCancel(a *app) *cobra.Command {
	var reason string
	var effect bool
	var wait awaitFlags
	cmd := &cobra.Command{
		Use:   "cancel ID...",
		Short: "ask tasks or groups to end",
		Long: `cancel asks tasks, members or groups to end, and returns when the request is stored. What has not started ends at once; a running handler is
told, may clean up, and what it returns is the outcome. Of a group every unfinished member is cancelled, also when another has failed.

It prints each ID and whether the request was accepted; it is not where the end had come before, which is no error. With --wait it returns
when all have ended, and prints how.`,
		Example: `  producer cancel t:0199b3a1-7c3e-7d52-9a4f-5c1d2e3f4a5b --reason "wrong input"
  producer cancel nightly-import --wait --await-timeout 1m`,
		Args: arguments(1, -1),
	}
	cmd.RunE = a.command(func(ctx context.Context, cmd *cobra.Command, args []string) (err error) {
		if err := wait.check(); err != nil {
			return err
		}
		s, err := a.outside(cmd, jobs.ClientConfig{})
		if err != nil {
			return err
		}
		defer finish(&err, s.close)
		return s.cancel(ctx, args, reason, effect, wait)
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why, for those who await it")
	cmd.Flags().BoolVar(&effect, "wait", false, "return when it has taken effect")
	wait.registerTimeout(cmd)
	return cmd
}

// cancelled is the answer to one cancel, as a line of JSON.
type cancelled struct {
	ID       string     `json:"id"`
	Accepted bool       `json:"accepted"`
	State    jobs.State `json:"state,omitempty"` // of a task or group that has ended
}

// cancel cancels all ids, and then waits for their ends if effect says so. It returns the first code, in their order, that is not 0.
func (s *session) cancel(ctx context.Context, ids []string, reason string, effect bool, flags awaitFlags) error {
	waiting, stop := flags.context(ctx)
	defer stop()
	answers := make([]cancelled, len(ids))
	errs := make([]error, len(ids))
	var all sync.WaitGroup
	slots := make(chan struct{}, 64) // requests at once
	for i, id := range ids {
		all.Go(func() {
			slots <- struct{}{}
			sub, err := s.subject(ctx, id)
			answers[i].ID = id
			if err == nil {
				answers[i].Accepted, err = jobs.Cancel(ctx, s.settled(sub), reason)
			}
			<-slots
			if err == nil && effect {
				answers[i].State, err = s.endState(waiting, sub)
			}
			errs[i] = err
		})
	}
	all.Wait()
	code := cli.ExitOK
	for i, answer := range answers {
		err := errs[i]
		if err != nil {
			s.report(ctx, &ending{subject: subject{id: answer.ID}}, err, flags)
			if code == cli.ExitOK {
				code = cli.Code(err)
			}
			continue
		}
		if s.out.json {
			s.out.object(answer)
			continue
		}
		s.out.line(fmt.Appendf(nil, "%s\t%s", answer.ID, answer.words()))
	}
	return cli.Exit(code, nil)
}

// words says what became of a cancel.
func (c cancelled) words() string {
	switch {
	case !c.Accepted && c.State != "":
		return "had ended before: " + string(c.State)
	case !c.Accepted:
		return "had ended before"
	case c.State != "":
		return string(c.State)
	}
	return "accepted"
}

// endState waits until nothing of sub runs any more and returns its state then.
func (s *session) endState(ctx context.Context, sub subject) (jobs.State, error) {
	if !sub.isGroup {
		out, err := await.Outcome(ctx, s.task(sub))
		return out.State, err
	}
	if _, err := groupBarrier(ctx, s.group(sub)); err != nil {
		return "", err
	}
	info, err := jobs.Inspect(ctx, s.group(sub))
	return info.State, err
}
