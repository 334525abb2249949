// Command oracle runs programs of tasks, written down as JSON, on gatherq, and compares what happens with what CPython's own
// asyncio makes of the same programs. It is a client: the workers at the URL run the tasks.
//
//	go run ./integration/oracle -redis URL FILE...
//
// For each file it prints one line of JSON, {"name","log","final"}. What differs from the file's "expect" goes to stderr.
// It exits with 1 when something differs or fails, with 2 when it was called wrongly or a scenario needs what is not there.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// config is what the flags say.
type config struct {
	redis     string
	namespace string
	workers   int
	inside    bool
	fresh     bool
	parallel  int
	scale     float64
	timeout   time.Duration
	files     []string
}

func parseFlags(args []string, stderr io.Writer) (config, error) {
	var cfg config
	flags := flag.NewFlagSet("oracle", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&cfg.redis, "redis", "redis://127.0.0.1:6379/0", "`URL` of Redis, or embedded: a Redis and workers in this process")
	flags.StringVar(&cfg.namespace, "namespace", "gatherq", "the `NAME` that client and workers share")
	flags.IntVar(&cfg.workers, "workers", 0, "start `N` worker processes and end them; embedded has one worker or more in any case")
	flags.BoolVar(&cfg.inside, "inside", false, "run the script in a handler")
	flags.BoolVar(&cfg.fresh, "fresh", true, "a new client with its own connection for each operation")
	flags.IntVar(&cfg.parallel, "parallel", 4, "run `N` scenarios side by side")
	flags.Float64Var(&cfg.scale, "scale", 1, "multiply every time by `F`")
	flags.DurationVar(&cfg.timeout, "timeout", 2*time.Minute, "give up a scenario after this time")
	if err := flags.Parse(args); err != nil {
		return cfg, err
	}
	cfg.files = flags.Args()
	switch {
	case cfg.inside:
		return cfg, errors.New("-inside: handlers cannot await in this version")
	case len(cfg.files) == 0:
		return cfg, errors.New("no files")
	case cfg.parallel < 1:
		return cfg, errors.New("-parallel: at least 1")
	case cfg.workers < 0:
		return cfg, errors.New("-workers: at least 0")
	case cfg.scale <= 0:
		return cfg, errors.New("-scale: more than 0")
	}
	return cfg, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg, err := parseFlags(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "oracle:", err)
		return 2
	}
	var scenarios []*scenario
	for _, file := range cfg.files {
		sc, err := load(file, cfg.scale)
		if err != nil {
			fmt.Fprintln(stderr, "oracle:", err)
			return 2
		}
		if ops := sc.unsupported(); len(ops) > 0 {
			fmt.Fprintf(stderr, "oracle: %s: this version has no %s\n", sc.Name, strings.Join(ops, ", no "))
			return 2
		}
		scenarios = append(scenarios, sc)
	}

	fleet, err := startFleet(ctx, cfg, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "oracle:", err)
		return 1
	}
	defer fleet.end()

	r := &runner{cfg: cfg, url: fleet.url, stdout: stdout, stderr: stderr}
	running := make(chan struct{}, cfg.parallel)
	var all sync.WaitGroup
	for _, sc := range scenarios {
		running <- struct{}{}
		all.Go(func() {
			defer func() { <-running }()
			r.scenario(ctx, sc)
		})
	}
	all.Wait()
	if r.failed {
		return 1
	}
	return 0
}
