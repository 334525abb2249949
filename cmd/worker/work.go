package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/internal/tasks"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// work runs a worker until it has drained.
func work(cmd *cobra.Command, s *settings) (err error) {
	if err := s.check(cmd); err != nil {
		return err
	}
	queues, err := parseQueues(s.queues)
	if err != nil {
		return err
	}
	adminAddr, err := s.adminAddress()
	if err != nil {
		return err
	}
	target, err := s.connection.Target()
	if err != nil {
		return err
	}
	listen, err := s.embeddedAddress(target)
	if err != nil {
		return err
	}
	log, err := s.logging.Logger(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	// Before anything is started, so that no signal is missed.
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)

	concurrency := s.concurrency
	if concurrency == 0 {
		concurrency = 8 * runtime.GOMAXPROCS(0)
	}
	rdb, err := s.connection.Open(cli.OpenConfig{
		PoolSize: poolSize(concurrency),
		Listen:   listen,
		Notices:  cmd.ErrOrStderr(),
	})
	if err != nil {
		return err
	}
	defer rdb.Close()
	answers := newAnswers()
	rdb.Client.AddHook(answers)

	cfg := jobs.ClientConfig{MaxResult: s.maxResult, Logger: log}
	if err := s.connection.Configure(&cfg); err != nil {
		return err
	}
	client, err := jobs.NewClient(rdb.Client, cfg)
	if err != nil {
		return err
	}
	defer client.Close()
	worker, err := jobs.NewWorker(client, jobs.WorkerConfig{
		Concurrency:     concurrency,
		Queues:          queues,
		Strict:          s.strict,
		Drain:           max(s.drain, time.Nanosecond), // zero would be the default
		UnknownTypeWait: s.unknownTypeWait,
	})
	if err != nil {
		return err
	}
	s.tasks.Redis = rdb.Client
	types, err := tasks.Register(worker, s.tasks)
	if err != nil {
		return cli.Usagef("%w", err)
	}

	ctx, drain := context.WithCancel(cmd.Context())
	defer drain()
	admin, err := startAdmin(ctx, adminAddr, &health{redis: rdb.Client, answers: answers, worker: worker, draining: ctx.Done()}, log)
	if err != nil {
		return err
	}
	defer admin.close()

	log.Info("worker starts",
		"redis", rdb.Target.String(), "namespace", s.connection.Namespace,
		"queues", queueList(queues), "types", strings.Join(types, ","), "concurrency", concurrency,
		"drain", s.drain, "admin", admin.address(), "version", cli.Version())
	finished := make(chan struct{})
	defer close(finished)
	var aborted atomic.Bool
	go obey(signals, finished, drain, func() { aborted.Store(true); worker.Abort() }, log)
	if err := worker.Run(ctx); err != nil {
		if aborted.Load() {
			return cli.Exit(cli.ExitInterrupted, err)
		}
		return err
	}
	stats := worker.Stats()
	log.Info("worker ends", "succeeded", stats.Succeeded, "failed", stats.Failed, "cancelled", stats.Cancelled)
	return nil
}

// obey turns the first signal into a drain, the second into an abort. A third one ends the process as usual.
func obey(signals chan os.Signal, finished <-chan struct{}, drain, abort func(), log *slog.Logger) {
	select {
	case sig := <-signals:
		log.Info("worker drains", "signal", sig.String())
		drain()
	case <-finished:
		return
	}
	select {
	case sig := <-signals:
		log.Warn("worker gives everything back", "signal", sig.String())
		signal.Stop(signals)
		abort()
	case <-finished:
	}
}

// poolSize is how many connections a worker of that concurrency may open at most: claims and settles of many handlers share a
// connection's time, a pub/sub and a doorbell have one of their own.
func poolSize(concurrency int) int { return min(16+concurrency/4, 128) }

// queueList writes queues as --queues takes them.
func queueList(queues map[string]int) string {
	var items []string
	for _, name := range slices.Sorted(maps.Keys(queues)) {
		items = append(items, fmt.Sprintf("%s=%d", name, queues[name]))
	}
	return strings.Join(items, ",")
}
