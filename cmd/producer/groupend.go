package main

import (
	"context"
	"fmt"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// groupOutcome waits for the outcome of a group without reading its values, which await.Outcome would do. Of a group that failed it returns
// the member that decided it, of one that was cancelled as a whole the group. The error is about the waiting.
func groupOutcome(ctx context.Context, g *jobs.Group[jobs.Value]) (jobs.Outcome[jobs.Value], error) {
	return lightOutcome(ctx, g)
}

// groupBarrier waits until all members of a group have ended. The outcome is that of the Settled view, without the members.
func groupBarrier(ctx context.Context, g *jobs.Group[jobs.Value]) (jobs.Outcome[jobs.Value], error) {
	return lightOutcome(ctx, g.Settled())
}

func lightOutcome(ctx context.Context, view core.Handle) (out jobs.Outcome[jobs.Value], err error) {
	fate, err := core.Await(ctx, view)
	switch {
	case err != nil && ctx.Err() != nil:
		return out, fmt.Errorf("%w: %w", await.ErrGaveUp, err)
	case err != nil:
		return out, err
	case fate.First != nil:
		core.FillOutcome(fate.First, &out)
	case fate.Failure != nil:
		core.FillOutcome(fate, &out)
	default:
		out.ID, out.State = fate.ID, jobs.State(fate.State)
	}
	return out, nil
}

// cancelledWhole waits for the end of a group whose members have been written, all of them. It is an error, which has been said, if the group
// was cancelled: its members may have kept their values all the same.
func (s *session) cancelledWhole(ctx context.Context, sub subject) error {
	out, err := groupBarrier(ctx, s.group(sub))
	if err != nil || out.Err == nil {
		return err
	}
	s.out.explain(sub.id, out.Err)
	return cli.Exit(cli.Code(out.Err), nil)
}
