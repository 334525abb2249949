package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/bench"
	"github.com/gatherq/gatherq/bench/report"
	"github.com/gatherq/gatherq/internal/cli"
)

func newBench(a *app) *cobra.Command {
	cfg := bench.Config{}
	cmd := &cobra.Command{
		Use:   "bench [FILE]",
		Short: "measure what this machine reaches, beside bare Redis and asynq with polling",
		Long: `bench measures round trips, single tasks and gathers, and beside each, in turn with it and on the same Redis, what bare Redis commands or
asynq with polled results reach. Workers are processes of their own; bench starts and ends them. It prints each figure as the median of
the rounds with their extremes, and next to a target whether it was met. Where rounds have a reference beside them the figure is a ratio:
absolute times differ from machine to machine.

FILE gets the raw samples and where they were taken, as one JSON document. With --json each sample is a line on stdout.

Use a Redis that nothing else uses: CPU time and commands are the whole server's. All keys of a run have a random name in them and are
removed at the end, after Ctrl-C too; a Redis with more than 1,000 keys is refused without --force. --namespace plays no part.`,
		Example: `  redis-server --port 7391 --save '' --appendonly no &
  producer bench --redis redis://127.0.0.1:7391                 # everything: twenty minutes
  producer bench --only gather,round-trip --rounds 3 samples.json
  producer bench --only single-256 --rounds 1 --profiles /tmp/p && go tool pprof -top /tmp/p/single-256.gatherq.worker-1.pprof
  producer bench --quick                                        # a minute: whether everything runs`,
		Args: arguments(0, 1),
	}
	cmd.RunE = a.command(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		return runBench(ctx, cmd, a, cfg, args)
	})
	flags := cmd.Flags()
	flags.StringVar(&cfg.Only, "only", "", "measure these alone, separated by commas; the first words of a `NAME` name all that begin so")
	flags.IntVar(&cfg.Rounds, "rounds", 5, "rounds that count, after one that does not; 1 to 100")
	flags.IntVar(&cfg.Members, "members", 1_000_000, "members of the largest gather; 1000 to 9000000")
	flags.IntVar(&cfg.Fleet, "fleet", 20, "idle worker processes whose commands are counted; 1 to 200")
	flags.StringVar(&cfg.Profiles, "profiles", "", "write CPU profiles and INFO commandstats of one more round of each side into `DIR`; it does not count")
	flags.BoolVar(&cfg.Quick, "quick", false, "small numbers and one round: whether it runs, not how fast")
	flags.BoolVar(&cfg.Force, "force", false, "go on although Redis holds more than 1,000 keys")
	return cmd
}

func runBench(ctx context.Context, cmd *cobra.Command, a *app, cfg bench.Config, args []string) (err error) {
	if cfg.Target, err = a.connection.Target(); err != nil {
		return err
	}
	if cfg.Program, err = os.Executable(); err != nil {
		return err
	}
	if cfg.Quick && !cmd.Flags().Changed("rounds") {
		cfg.Rounds = 1
	}
	out := a.output(cmd)
	defer finish(&err, out.flush)
	var file *os.File
	if len(args) > 0 {
		if file, err = os.Create(args[0]); err != nil {
			return cli.Exit(cli.ExitUsage, err)
		}
		defer finish(&err, file.Close)
	}
	cfg.Stderr = cmd.ErrOrStderr()
	cfg.Progress = func(line string) { out.say("%s  %s", time.Now().Format(time.TimeOnly), line) }
	if out.json {
		cfg.Sampled = func(s report.Sample) { out.object(s) }
	}
	run, err := bench.Run(ctx, cfg)
	if file != nil && len(run.Samples) > 0 {
		err = errors.Join(err, run.Write(file))
	}
	if !out.json && len(run.Samples) > 0 {
		for line := range strings.Lines(report.Table(run)) {
			out.line([]byte(strings.TrimSuffix(line, "\n")))
		}
	}
	return err
}

// newBenchWorker is how bench starts itself as a worker process; it is not for people.
func newBenchWorker() *cobra.Command {
	return &cobra.Command{
		Use:    bench.WorkerCommand,
		Short:  "a worker process of bench",
		Hidden: true,
		Args:   arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := bench.Work(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout()); err != nil {
				return fmt.Errorf("bench: %w", err)
			}
			return nil
		},
	}
}
