package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/internal/tasks"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// demoParts are what a test puts into the demo.
type demoParts struct {
	gathered func() // called when all results are there, before the files are read directly
}

func newDemo(a *app, parts demoParts) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo [DIR]",
		Short: "gather size, lines and SHA-256 of every file below DIR, and check them",
		Long: `demo does the main job by itself: it gathers the task "file" over every regular file below DIR (default "."), awaits the results and prints a
table. Then it computes the same without gatherq: what does not agree is named, and the exit code is 1. Symbolic links are not followed.

Redis and a worker run inside the process, nothing else is needed. Where --redis, --redis-file or their variables of the environment name a
real one, the workers of that one do the work: their --file-root must be DIR.`,
		Example: `  producer demo
  producer demo /usr/share/doc
  worker --file-root ~/src & producer demo ~/src --redis redis://127.0.0.1:6379/0`,
		Args: arguments(0, 1),
	}
	cmd.RunE = a.command(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		dir := "."
		if len(args) > 0 {
			dir = args[0]
		}
		return runDemo(ctx, cmd, a, dir, parts)
	})
	return cmd
}

func runDemo(ctx context.Context, cmd *cobra.Command, a *app, dir string, parts demoParts) (err error) {
	if info, err := os.Stat(dir); err != nil {
		return cli.Exit(cli.ExitUsage, err)
	} else if !info.IsDir() {
		return cli.Usagef("DIR %q: not a directory", dir)
	}
	if !a.redisNamed(cmd) {
		if err := cmd.Flags().Set("redis", string(cli.Embedded)); err != nil {
			return err
		}
	}
	s, err := a.open(cmd, jobs.ClientConfig{})
	if err != nil {
		return err
	}
	defer finish(&err, s.close)
	paths, skipped, err := regularFiles(ctx, dir)
	if err != nil {
		return err
	}
	for _, line := range skipped {
		s.out.say("producer: skipped %s", line)
	}
	if s.redis.Target.Kind == cli.Embedded {
		stop, err := s.startWorker(ctx, dir)
		if err != nil {
			return err
		}
		defer finish(&err, stop)
	}
	start := time.Now()
	found, err := s.gatherFiles(ctx, paths)
	if err != nil {
		return err
	}
	took := time.Since(start)
	if parts.gathered != nil {
		parts.gathered()
	}
	if err := measureDirectly(ctx, dir, found); err != nil {
		return err
	}
	err = s.out.demoReport(found, took)
	if err != nil && s.redis.Target.Kind != cli.Embedded && slices.ContainsFunc(found, func(f demoFile) bool { return f.gotErr != nil }) {
		s.out.say("producer: is %s the --file-root of all workers, on all hosts?", dir)
	}
	return err
}

// redisNamed reports whether a flag or the environment names a Redis.
func (a *app) redisNamed(cmd *cobra.Command) bool {
	for _, flag := range []string{"redis", "redis-file"} {
		if cmd.Flags().Changed(flag) || os.Getenv(cli.EnvName(flag)) != "" {
			return true
		}
	}
	return os.Getenv("GATHERQ_REDIS_URL") != ""
}

// startWorker runs a worker inside the process, which may read below dir. Stop drains it.
func (s *session) startWorker(ctx context.Context, dir string) (stop func() error, err error) {
	w, err := jobs.NewWorker(s.Client, jobs.WorkerConfig{Drain: time.Second})
	if err != nil {
		return nil, err
	}
	if _, err := tasks.Register(w, tasks.Config{FileRoot: dir}); err != nil {
		return nil, err
	}
	// The worker outlives an interrupt for as long as it takes to say what became of the demo.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	select {
	case <-w.Ready():
	case err := <-ended:
		cancel()
		return nil, errors.Join(errors.New("the demo's worker did not start"), err)
	}
	return func() error {
		cancel()
		return <-ended
	}, nil
}

// demoFile is one file as the demo sees it.
type demoFile struct {
	path   string // below DIR, with slashes
	got    tasks.FileInfo
	gotErr error // of the task
	own    tasks.FileInfo
	ownErr error // of the direct reading
}

// gatherFiles lets the fleet measure all paths.
func (s *session) gatherFiles(ctx context.Context, paths []string) ([]demoFile, error) {
	found := make([]demoFile, len(paths))
	args := make([]tasks.FileArgs, len(paths))
	for i, path := range paths {
		found[i].path = path
		args[i].Path = path
	}
	group, err := jobs.Gather(ctx, s.Client, tasks.File.Calls(args...))
	if err != nil {
		return nil, s.undecided(err)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go s.sayWhy(watching, group.ID())
	bar := s.out.progress("files", int64(len(paths)))
	defer bar.finish()
	for out, err := range await.AsCompleted(ctx, group) {
		if err != nil {
			bar.finish()
			if cli.Code(err) == cli.ExitInterrupted && s.redis.Target.Kind != cli.Embedded {
				s.detached("interrupted", group.ID())
				return nil, cli.Exit(cli.ExitInterrupted, nil)
			}
			return nil, fmt.Errorf("%s: %w", group.ID(), err)
		}
		found[out.Index].got, found[out.Index].gotErr = out.Value, out.Err
		bar.add(1)
	}
	return found, nil
}
