package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/internal/tasks"
)

const (
	defaultAdmin  = "127.0.0.1:9090"
	defaultListen = "127.0.0.1:6379"
	defaultDrain  = 25 * time.Second // a pod's grace is 30 s
)

// settings are the flags of worker.
type settings struct {
	connection      cli.Connection
	logging         cli.Logging
	admin           string
	embeddedListen  string
	queues          string
	strict          bool
	concurrency     int
	drain           time.Duration
	unknownTypeWait time.Duration
	maxResult       int
	tasks           tasks.Config
}

// newRoot returns the command tree.
func newRoot() *cobra.Command {
	s := &settings{}
	root := &cobra.Command{
		Use:   "worker [flags]",
		Short: "Run tasks of gatherq",
		Long: `Worker runs tasks that a producer creates. Any number of workers, on any number of hosts, share the queues of one Redis.

The task types echo and sleep are always there. What lets a task touch the machine is off until a flag switches it on: file
(--file-root), exec (--allow-exec), http (--allow-http) and sim (--allow-sim).

The first SIGTERM or SIGINT drains: nothing new is taken, running tasks may finish for the time of --drain, what is left goes
back to its queue. A second one gives everything back at once.

Every flag that is not given is read from the environment: GATHERQ_ and its name in capitals, with underscores for dashes
(--file-root: GATHERQ_FILE_ROOT). Of a flag that may be repeated, each line of the variable is one value.`,
		Example: `  worker --redis redis://10.0.0.5:6379/0 --queues default=3,low=1 --concurrency 64
  worker --redis embedded --allow-sim
  worker --file-root /srv/data --allow-exec 'thumb=/usr/bin/convert {in} -resize {size} {out}'
  worker --allow-http https://api.example.com/v1 --admin 0.0.0.0:9090
  worker health`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return work(cmd, s) },
	}
	root.PersistentFlags().StringVar(&s.admin, "admin", defaultAdmin, "`ADDRESS` of /healthz, /readyz and /metrics; \"\" or off for none")
	f := root.Flags()
	s.connection.Register(f)
	s.logging.Register(f, "info")
	f.StringVar(&s.embeddedListen, "embedded-listen", "", "`ADDRESS` on which the Redis of --redis embedded listens for other processes (default \""+defaultListen+"\")")
	f.StringVar(&s.queues, "queues", "default=1", "`QUEUES` to serve, each with its weight: its share when several have work; as in default=3,low=1")
	f.BoolVar(&s.strict, "strict", false, "empty a heavier queue before a lighter one")
	f.IntVar(&s.concurrency, "concurrency", 0, "handlers that run at once, 1 to 100000 (default 8 × cores)")
	f.DurationVar(&s.drain, "drain", defaultDrain, "how long running tasks may finish after the first signal, 0 to 24h")
	f.DurationVar(&s.unknownTypeWait, "unknown-type-wait", 10*time.Minute, "how long a task of a type that no worker knows waits before it fails, 1s to 168h")
	f.IntVar(&s.maxResult, "max-result", 256<<10, "bytes that a result may have, 1 to 1048576")
	f.StringVar(&s.tasks.FileRoot, "file-root", "", "`DIR` below which the task type file may read; switches it on")
	f.StringArrayVar(&s.tasks.AllowExec, "allow-exec", nil, "`'name=/path --flag {in} {out}'`: a program that the task type exec may run; may be repeated")
	f.BoolVar(&s.tasks.AllowExecArgs, "allow-exec-args", false, "let tasks of type exec append arguments of their own")
	f.StringArrayVar(&s.tasks.AllowHTTP, "allow-http", nil, "`URL-PREFIX` below which the task type http may ask; may be repeated")
	f.BoolVar(&s.tasks.AllowSim, "allow-sim", false, "offer the task type sim, whose programs may burn cores and end this process")
	root.AddCommand(newHealth(s))
	return root
}

// check refuses what is out of bounds before anything is started.
func (s *settings) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("concurrency") && (s.concurrency < 1 || s.concurrency > 100_000) {
		return cli.Usagef("--concurrency %d: must be from 1 to 100000", s.concurrency)
	}
	if s.drain < 0 || s.drain > 24*time.Hour {
		return cli.Usagef("--drain %v: must be from 0 to 24h", s.drain)
	}
	if s.unknownTypeWait < time.Second || s.unknownTypeWait > 168*time.Hour {
		return cli.Usagef("--unknown-type-wait %v: must be from 1s to 168h", s.unknownTypeWait)
	}
	if s.maxResult < 1 || s.maxResult > 1<<20 {
		return cli.Usagef("--max-result %d: must be from 1 to %d", s.maxResult, 1<<20)
	}
	return nil
}

// adminAddress returns the address of the admin server, "" for none.
func (s *settings) adminAddress() (string, error) {
	if s.admin == "" || s.admin == "off" {
		return "", nil
	}
	if err := checkAddress(s.admin); err != nil {
		return "", cli.Usagef("--admin %q: %w", s.admin, err)
	}
	return s.admin, nil
}

// embeddedAddress returns where an embedded Redis listens: producers of other processes need it.
func (s *settings) embeddedAddress(target cli.Target) (string, error) {
	if target.Kind != cli.Embedded {
		if s.embeddedListen != "" {
			return "", cli.Usagef("--embedded-listen: goes with --redis embedded alone")
		}
		return "", nil
	}
	if s.embeddedListen == "" {
		return defaultListen, nil
	}
	if err := checkAddress(s.embeddedListen); err != nil {
		return "", cli.Usagef("--embedded-listen %q: %w", s.embeddedListen, err)
	}
	return s.embeddedListen, nil
}

var errAddress = fmt.Errorf("must be host:port, as in %s", defaultAdmin)
