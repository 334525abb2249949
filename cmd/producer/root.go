package main

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// app holds the flags that all commands have in common.
type app struct {
	connection cli.Connection
	logging    cli.Logging
	json       bool
}

// newRoot returns the command with all its subcommands; cli.Execute runs it.
func newRoot() *cobra.Command { return newRootWith(demoParts{}) }

func newRootWith(parts demoParts) *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:   "producer",
		Short: "create tasks, gather groups and await their results on a fleet of workers",
		Long: `producer creates tasks and gathers groups of them, which any number of workers on any number of hosts run, and awaits their results.

Exit codes: 0 done; 1 the task or group failed; 2 bad usage or input, nothing was enqueued; 3 cancelled; 4 unknown, expired or lost;
5 Redis is not reachable, or what happened is not known; 6 refused for now, try again; 124 the await timed out and 130 it was
interrupted, either way the work goes on. With several IDs: the first code, in the order of the arguments, that is not 0.

Every flag that is not given is read from the environment: --await-timeout from GATHERQ_AWAIT_TIMEOUT, and so on.`,
		Example: `  producer demo                                   # everything in one process: nothing else is needed
  producer create echo '{"hello":"world"}' --await
  seq 1000 | producer gather echo - --await
  producer status ID --watch`,
	}
	a.connection.Register(root.PersistentFlags())
	a.logging.Register(root.PersistentFlags(), "warn")
	root.PersistentFlags().BoolVar(&a.json, "json", false, "one JSON object a line on stdout, nothing else there")
	root.AddCommand(
		newCreate(a),
		newGather(a),
		newAwait(a),
		newStatus(a),
		newCancel(a),
		newDoctor(a),
		newDemo(a, parts),
		newBench(a),
		newBenchWorker(),
	)
	return root
}

// arguments accepts from least to most arguments, any number from least up where most is negative. The error shows which there are.
func arguments(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return cli.Usagef("%s: an argument is missing, got %d", cmd.Use, len(args))
		case most >= 0 && len(args) > most:
			return cli.Usagef("%s: too many arguments, got %d", cmd.Use, len(args))
		}
		return nil
	}
}

// errEmbedded is the answer to --redis embedded where it could only hang: nobody else can reach such a Redis.
const errEmbedded = `--redis embedded: it would end with this command, and no worker could reach it; ` +
	`start "worker --redis embedded" and leave --redis out here, or see "producer demo"`

// session is a client, and the Redis under it.
type session struct {
	*jobs.Client
	redis *cli.Redis
	app   *app
	out   *output
}

// open returns a session over the Redis that the flags name. It does no I/O to it: that it is not there shows at the first use.
func (a *app) open(cmd *cobra.Command, cfg jobs.ClientConfig) (*session, error) {
	log, err := a.logging.Logger(cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	rdb, err := a.connection.Open(cli.OpenConfig{Notices: cmd.ErrOrStderr()})
	if err != nil {
		return nil, err
	}
	if err := a.connection.Configure(&cfg); err != nil {
		return nil, errors.Join(err, rdb.Close())
	}
	cfg.Logger = log
	client, err := jobs.NewClient(rdb.Client, cfg)
	if err != nil {
		return nil, errors.Join(cli.Exit(cli.ExitUsage, err), rdb.Close())
	}
	return &session{Client: client, redis: rdb, app: a, out: a.output(cmd)}, nil
}

// outside is open for commands that work with other processes.
func (a *app) outside(cmd *cobra.Command, cfg jobs.ClientConfig) (*session, error) {
	target, err := a.connection.Target()
	if err != nil {
		return nil, err
	}
	if target.Kind == cli.Embedded {
		return nil, cli.Usagef(errEmbedded)
	}
	return a.open(cmd, cfg)
}

// close ends the session, and writes out what is left to write.
func (s *session) close() error {
	return errors.Join(s.out.flush(), s.Client.Close(), s.redis.Close())
}

// finish is deferred by commands: an error of close is that of the command if it has no other.
func finish(err *error, end func() error) {
	if failed := end(); failed != nil && *err == nil {
		*err = failed
	}
}

// command makes a RunE of run: it reports the error, if any, in the way of all commands and says how to exit.
func (a *app) command(run func(ctx context.Context, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := run(cmd.Context(), cmd, args)
		if err == nil || silent(err) {
			return err
		}
		out := a.output(cmd)
		out.fail("", err)
		_ = out.flush()
		return cli.Exit(cli.Code(err), nil)
	}
}

// silent reports whether everything about err has been said: only how to exit is left.
func silent(err error) bool {
	exit, ok := err.(*cli.ExitError) //nolint:errorlint // what wraps it has something to say
	return ok && exit.Err == nil
}

// hint returns a command line of this program for people to copy, which reaches the same Redis and namespace. A URL that may hold a
// password is left out.
func (a *app) hint(words ...string) string {
	line := append([]string{"producer"}, words...)
	if ns := a.connection.Namespace; ns != "" && ns != "gatherq" {
		line = append(line, "--namespace", ns)
	}
	switch {
	case a.connection.File != "":
		line = append(line, "--redis-file", a.connection.File)
	case a.connection.URL != "" && !strings.Contains(a.connection.URL, "@"):
		line = append(line, "--redis", a.connection.URL)
	}
	return strings.Join(line, " ")
}
