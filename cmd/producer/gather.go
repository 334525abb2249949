package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func newGather(a *app) *cobra.Command {
	var task taskFlags
	var wait awaitFlags
	var maxRunning int
	cmd := &cobra.Command{
		Use:   "gather TYPE [FILE]",
		Short: "gather many tasks into a group",
		Long: `gather makes a group of tasks of one type, one for each line of FILE, or of stdin without it or with "-". A line is the JSON of one call's
arguments; the lines are streamed, so a million of them do not fill memory. No member starts before the last line is read: a line that is no
JSON, empty or too long ends with exit code 2 and leaves nothing behind.

It prints the group's ID. With --await the ID goes to stderr, and the results to stdout, one per line in the order of the calls: when all
members have succeeded, streamed back from Redis. Failing fast, at the first failure in time no results but the failing member is shown, and
the rest runs on. A result is the bytes of JSON that the handler returned; only where they hold line ends the white space between their
tokens is left out.

With --as-completed results come while the group runs, in the order in which their members end, each with the index of its call; with
--return-errors they come in the order of the calls, errors stand in their place, and the exit code is 0.`,
		Example: `  seq 1000 | producer gather echo --await
  producer gather file paths.jsonl --await --return-errors --json > results.jsonl
  producer gather sleep - --as-completed --await < sleeps.jsonl
  producer gather echo lines.jsonl --id import-2026-01-31 --queue low --retries 3
  producer gather http urls.jsonl --max-running 8 --await`,
		Args: arguments(1, 2),
	}
	cmd.RunE = a.command(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		var opts []jobs.GatherOption
		if cmd.Flags().Changed("max-running") {
			opts = append(opts, jobs.MaxRunning(maxRunning))
		}
		return runGather(ctx, cmd, a, args, task, opts, wait)
	})
	cmd.Flags().IntVar(&maxRunning, "max-running", 0, "at most so many members run at once over the whole fleet, 1 to 10000000 (default no bound)")
	task.register(cmd, "group")
	wait.registerAwait(cmd)
	wait.registerTimeout(cmd)
	wait.registerGroup(cmd)
	return cmd
}

func runGather(ctx context.Context, cmd *cobra.Command, a *app, args []string, task taskFlags, settings []jobs.GatherOption, wait awaitFlags) (err error) {
	if err := wait.check(); err != nil {
		return err
	}
	cfg, err := task.client()
	if err != nil {
		return err
	}
	def := jobs.Define[json.RawMessage, jobs.Value](args[0])
	if err := def.Err(); err != nil {
		return cli.Exit(cli.ExitUsage, err)
	}
	source, closeSource, err := openLines(cmd.InOrStdin(), args[1:])
	if err != nil {
		return err
	}
	defer closeSource()
	s, err := a.outside(cmd, cfg)
	if err != nil {
		return err
	}
	defer finish(&err, s.close)
	opts, err := task.options(ctx, s.redisTime)
	if err != nil {
		return err
	}
	for _, o := range opts {
		settings = append(settings, o)
	}
	bar := s.out.progress("staged", 0)
	group, err := jobs.GatherSeq2(ctx, s.Client, calls(newLines(untilDone(ctx, source), task.maxArgs), def, bar), settings...)
	bar.finish()
	if err != nil {
		return s.undecided(err)
	}
	s.created(group.ID(), wait)
	if !wait.await {
		return nil
	}
	return s.await(ctx, []string{group.ID()}, wait)
}

// openLines returns the file that args name, or stdin.
func openLines(stdin io.Reader, args []string) (io.Reader, func(), error) {
	if len(args) == 0 || args[0] == "-" {
		return stdin, func() {}, nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, nil, cli.Exit(cli.ExitUsage, err)
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		_ = f.Close()
		return nil, nil, cli.Usagef("FILE %s: is a directory", args[0])
	}
	return f, func() { _ = f.Close() }, nil
}

// calls returns a call for each line. It ends with the first error, which names the line.
func calls(
	in *lines, def jobs.Definition[json.RawMessage, jobs.Value], bar *progress,
) iter.Seq2[jobs.Call[jobs.Value], error] {
	return func(yield func(jobs.Call[jobs.Value], error) bool) {
		for {
			line, err := in.next()
			if errors.Is(err, io.EOF) {
				return
			}
			if tooLong, ok := errors.AsType[*lineTooLongError](err); ok {
				err = cli.Exit(cli.ExitUsage, tooLong)
			}
			if err == nil {
				if wrong := checkJSON(line); wrong != nil {
					err = cli.Exit(cli.ExitUsage, fmt.Errorf("line %d: malformed JSON: %w", in.n, wrong))
				}
			}
			if err != nil {
				yield(jobs.Call[jobs.Value]{}, err)
				return
			}
			if !yield(def.Call(line), nil) {
				return
			}
			bar.add(1)
		}
	}
}
