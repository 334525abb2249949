package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// Defaults and bound of --max-args; the library's, which the reader of lines needs before the library sees them.
const (
	defaultMaxArgs = 256 << 10
	maxMaxArgs     = 1 << 20
)

// taskFlags are the flags of create and gather that say how a task runs.
type taskFlags struct {
	set *pflag.FlagSet

	id         string
	onConflict string
	queue      string
	retries    int
	backoff    time.Duration
	timeout    time.Duration
	grace      time.Duration
	deadline   string
	in         string
	at         string
	maxPending time.Duration
	maxCrashes int
	retention  time.Duration
	maxArgs    int
	maxResult  int
}

func (t *taskFlags) register(cmd *cobra.Command, what string) {
	fs := cmd.Flags()
	t.set = fs
	fs.StringVar(&t.id, "id", "", "`ID` of the "+what+": created once, however often it is asked for; [A-Za-z0-9][A-Za-z0-9._-]{0,127} (default generated)")
	fs.StringVar(&t.onConflict, "on-conflict", "return", "what happens when --id is there already: return it, error, or rerun it if it did not succeed")
	fs.StringVar(&t.queue, "queue", "default", "`queue`: [a-z0-9][a-z0-9._-]{0,63}")
	fs.IntVar(&t.retries, "retries", 0, "how often a failed task is tried again, 0 to 1000")
	fs.DurationVar(&t.backoff, "backoff", time.Second, "longest wait before the first retry, doubled for each further one up to 5m; 1ms to 24h")
	fs.DurationVar(&t.timeout, "timeout", 30*time.Minute, "running time of one delivery, 1ms to 24h")
	fs.DurationVar(&t.grace, "grace", 30*time.Second, "how long a handler may clean up after a cancel or a time-out, 0 to 10m")
	fs.StringVar(&t.deadline, "deadline", "", "when it must have ended: a `TIME` in RFC 3339, or a duration from now (default none)")
	fs.StringVar(&t.in, "in", "", "start not before a `DURATION` from now has passed")
	fs.StringVar(&t.at, "at", "", "start not before a `TIME` in RFC 3339, or a duration from now")
	fs.DurationVar(&t.maxPending, "max-pending", 7*24*time.Hour, "longest wait for a start, from when it is due")
	fs.IntVar(&t.maxCrashes, "max-crashes", 3, "how many workers may die with it before it ends as crash_loop, 3 to 1000; a death counts for 24h")
	fs.DurationVar(&t.retention, "retention", time.Hour, "how long the result is kept from the end, 1s to 720h")
	fs.IntVar(&t.maxArgs, "max-args", defaultMaxArgs, "limit of the arguments of one call in `bytes`, at most 1048576")
	fs.IntVar(&t.maxResult, "max-result", defaultMaxArgs, "limit of one result in `bytes`, at most 1048576")
	cmd.MarkFlagsMutuallyExclusive("in", "at")
	_ = cmd.RegisterFlagCompletionFunc("on-conflict", cobra.FixedCompletions([]string{"return", "error", "rerun"}, cobra.ShellCompDirectiveNoFileComp))
}

// client returns the client's part of the flags.
func (t *taskFlags) client() (jobs.ClientConfig, error) {
	for flag, n := range map[string]int{"max-args": t.maxArgs, "max-result": t.maxResult} {
		if n < 1 || n > maxMaxArgs {
			return jobs.ClientConfig{}, cli.Usagef("--%s %d: must be 1 to %d bytes", flag, n, maxMaxArgs)
		}
	}
	return jobs.ClientConfig{MaxArgs: t.maxArgs, MaxResult: t.maxResult}, nil
}

// options returns the flags that were given as options of a call. Durations go to Redis as such, by whose clock they count; only a deadline
// has no such form, so now is asked for the time there.
func (t *taskFlags) options(ctx context.Context, now func(context.Context) (time.Time, error)) ([]jobs.CallOption, error) {
	var opts []jobs.CallOption
	add := func(flag string, opt func() jobs.CallOption) {
		if t.set.Changed(flag) {
			opts = append(opts, opt())
		}
	}
	add("queue", func() jobs.CallOption { return jobs.Queue(t.queue) })
	add("retries", func() jobs.CallOption { return jobs.Retries(t.retries) })
	add("backoff", func() jobs.CallOption { return jobs.Backoff(t.backoff, max(t.backoff, 5*time.Minute)) })
	add("timeout", func() jobs.CallOption { return jobs.Timeout(t.timeout) })
	add("grace", func() jobs.CallOption { return jobs.Grace(t.grace) })
	add("max-pending", func() jobs.CallOption { return jobs.MaxPending(t.maxPending) })
	add("max-crashes", func() jobs.CallOption { return jobs.MaxCrashes(t.maxCrashes) })
	add("retention", func() jobs.CallOption { return jobs.Retention(t.retention) })
	add("id", func() jobs.CallOption { return jobs.ID(t.id) })

	switch t.onConflict {
	case "return":
	case "error":
		opts = append(opts, jobs.OnConflict(jobs.ConflictError))
	case "rerun":
		opts = append(opts, jobs.OnConflict(jobs.ConflictRerun))
	default:
		return nil, cli.Usagef("--on-conflict %q: must be return, error or rerun", t.onConflict)
	}

	for flag, value := range map[string]string{"in": t.in, "at": t.at} {
		if !t.set.Changed(flag) {
			continue
		}
		after, moment, err := parseMoment(value)
		switch {
		case err != nil:
			return nil, cli.Usagef("--%s %w", flag, err)
		case !moment.IsZero():
			opts = append(opts, jobs.At(moment))
		default:
			opts = append(opts, jobs.Delay(after))
		}
	}
	if t.set.Changed("deadline") {
		after, moment, err := parseMoment(t.deadline)
		if err != nil {
			return nil, cli.Usagef("--deadline %w", err)
		}
		if moment.IsZero() {
			start, err := now(ctx)
			if err != nil {
				return nil, err
			}
			moment = start.Add(after)
		}
		opts = append(opts, jobs.Deadline(moment))
	}
	return opts, nil
}

// parseMoment reads a time in RFC 3339, or a duration from now: then the time is zero.
func parseMoment(s string) (time.Duration, time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		if d < 0 {
			return 0, time.Time{}, fmt.Errorf("%q: must not be negative", s)
		}
		return d, time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("%q: must be a duration like 1h30m or a time like 2026-01-31T12:00:00Z", s)
	}
	if t.IsZero() {
		return 0, time.Time{}, fmt.Errorf("%q: the year 1 is over", s)
	}
	return 0, t, nil
}

// redisTime returns a function that asks the session's Redis for its time.
func (s *session) redisTime(ctx context.Context) (time.Time, error) {
	t, err := s.redis.Client.Time(ctx).Result()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return time.Time{}, cause
		}
		return time.Time{}, cli.Exit(cli.ExitUnavailable, fmt.Errorf("asking Redis for its time, for --deadline: %w", err))
	}
	return t, nil
}

// awaitFlags are the flags of what can await.
type awaitFlags struct {
	await        bool
	timeout      time.Duration
	asCompleted  bool
	returnErrors bool
}

// errNeedsAwait is for flags that mean nothing without --await.
var errNeedsAwait = errors.New("goes with --await alone")

// registerTimeout adds --await-timeout.
func (w *awaitFlags) registerTimeout(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&w.timeout, "await-timeout", 0, "give up the waiting after this `duration`, exit code 124; the work goes on (default never)")
}

// registerGroup adds the flags for the results of a group.
func (w *awaitFlags) registerGroup(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.asCompleted, "as-completed", false, "results of a group as they come, each as INDEX<TAB>VALUE")
	cmd.Flags().BoolVar(&w.returnErrors, "return-errors", false, `errors of a group's members as items, {"error":{"kind","message"}}, and exit code 0`)
}

// registerAwait adds --await to a command that creates.
func (w *awaitFlags) registerAwait(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.await, "await", false, "wait for the end: the ID goes to stderr, results alone to stdout")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		// Before the environment is read, which may well set these for other commands.
		for _, flag := range []string{"await-timeout", "as-completed", "return-errors"} {
			if cmd.Flags().Changed(flag) && !cmd.Flags().Changed("await") && !truthy(cli.EnvName("await")) {
				return cli.Usagef("--%s %w", flag, errNeedsAwait)
			}
		}
		return nil
	}
}

// check returns what is wrong with the flags.
func (w *awaitFlags) check() error {
	if w.timeout < 0 {
		return cli.Usagef("--await-timeout %v: must not be negative", w.timeout)
	}
	return nil
}

// context returns ctx, which ends with --await-timeout where that is given.
func (w *awaitFlags) context(ctx context.Context) (context.Context, context.CancelFunc) {
	if w.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, w.timeout)
}

// truthy reports whether the variable of the environment is set to true.
func truthy(env string) bool {
	b, err := strconv.ParseBool(os.Getenv(env))
	return err == nil && b
}
