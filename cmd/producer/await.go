package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/pkg/jobs"
)

func newAwait(a *app) *cobra.Command {
	var wait awaitFlags
	cmd := &cobra.Command{
		Use:   "await ID...",
		Short: "wait for tasks, groups or members and print their results",
		Long: `await waits for tasks, groups and members of groups (GROUP:INDEX), whoever created them, and prints their results in the order of the
arguments; those of a group as "gather --await" does. Reading consumes nothing: any number of processes may await an ID any number of times
until its retention ends. Ctrl-C and --await-timeout end the waiting alone, the work goes on.`,
		Example: `  producer await t:0199b3a1-7c3e-7d52-9a4f-5c1d2e3f4a5b
  producer await nightly-import nightly-import:17 --await-timeout 10m
  producer await GROUP --return-errors --json`,
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
		return s.await(ctx, args, wait)
	})
	wait.registerTimeout(cmd)
	wait.registerGroup(cmd)
	return cmd
}
