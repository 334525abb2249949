package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func newCreate(a *app) *cobra.Command {
	var task taskFlags
	var wait awaitFlags
	cmd := &cobra.Command{
		Use:   "create TYPE [ARGS]",
		Short: "create one task",
		Long: `create makes one task of a type that workers know. ARGS is JSON, "-" reads it from stdin, without it the arguments are null.

It prints the ID as soon as the task is stored. With --await the ID goes to stderr, and stdout holds the result alone: the bytes of JSON that
the handler returned, on one line.`,
		Example: `  producer create echo '{"hello":"world"}' --await
  producer create sleep '{"ms":5000}' --in 10m --retries 3
  producer create file '{"path":"README.md"}' --id readme-1 --await --await-timeout 30s
  curl -s https://example.com/big.json | producer create echo - --json`,
		Args: arguments(1, 2),
	}
	cmd.RunE = a.command(func(ctx context.Context, cmd *cobra.Command, args []string) error {
		return runCreate(ctx, cmd, a, args, task, wait)
	})
	task.register(cmd, "task")
	wait.registerAwait(cmd)
	wait.registerTimeout(cmd)
	return cmd
}

func runCreate(ctx context.Context, cmd *cobra.Command, a *app, args []string, task taskFlags, wait awaitFlags) (err error) {
	if err := wait.check(); err != nil {
		return err
	}
	cfg, err := task.client()
	if err != nil {
		return err
	}
	raw, err := readArgs(ctx, cmd.InOrStdin(), args[1:], task.maxArgs)
	if err != nil {
		return err
	}
	def := jobs.Define[json.RawMessage, jobs.Value](args[0])
	if err := def.Err(); err != nil {
		return cli.Exit(cli.ExitUsage, err)
	}
	s, err := a.outside(cmd, cfg)
	if err != nil {
		return err
	}
	defer finish(&err, s.close)
	opts, err := task.options(ctx, s.redisTime)
	if err != nil {
		return err
	}
	handle, err := jobs.CreateTask(ctx, s.Client, def.Call(raw, opts...))
	if err != nil {
		return s.undecided(err)
	}
	s.created(handle.ID(), wait)
	if !wait.await {
		return nil
	}
	return s.await(ctx, []string{handle.ID()}, wait)
}

// readArgs returns the arguments of a call, of at most limit bytes.
func readArgs(ctx context.Context, stdin io.Reader, args []string, limit int) (json.RawMessage, error) {
	if len(args) == 0 {
		return json.RawMessage("null"), nil
	}
	raw := []byte(args[0])
	if args[0] == "-" {
		var err error
		if raw, err = io.ReadAll(io.LimitReader(untilDone(ctx, stdin), int64(limit)+1)); err != nil {
			return nil, fmt.Errorf("reading the arguments from stdin: %w", err)
		}
	}
	if len(raw) > limit {
		return nil, cli.Usagef("args: longer than %d bytes, the limit (--max-args)", limit)
	}
	if err := checkJSON(raw); err != nil {
		return nil, cli.Usagef("args: malformed JSON: %w", err)
	}
	return raw, nil
}

// created prints the ID of what was created: to stdout, or to stderr where stdout is for the results.
func (s *session) created(id string, wait awaitFlags) {
	switch {
	case wait.await:
		s.out.say("%s", id)
	case s.out.json:
		s.out.object(struct {
			ID string `json:"id"`
		}{id})
	default:
		s.out.line([]byte(id))
	}
}

// undecided returns the error of a creation. Where nobody knows whether it happened, it first says how to find out.
func (s *session) undecided(err error) error {
	if e, ok := errors.AsType[*jobs.Error](err); ok && e.Kind == jobs.ErrIndeterminate && e.ID != "" {
		s.out.fail(e.ID, err)
		s.out.say("producer: it may or may not be stored: look with %q, await it with %q; the same command with --id is safe to repeat",
			s.app.hint("status", e.ID), s.app.hint("await", e.ID))
		return cli.Exit(cli.Code(err), nil)
	}
	if e, ok := errors.AsType[*jobs.Error](err); ok && e.Kind == jobs.ErrNotDurable {
		s.out.fail(e.ID, err)
		s.out.say("producer: it is stored and will run, and may be lost if Redis loses its last writes: await it with %q", s.app.hint("await", e.ID))
		return cli.Exit(cli.Code(err), nil)
	}
	if errors.Is(err, cli.ErrInterrupted) {
		return cli.Exit(cli.ExitInterrupted, errors.New("nothing was enqueued"))
	}
	return err
}
