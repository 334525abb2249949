package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/gatherq/gatherq/bench/report"
	"github.com/gatherq/gatherq/internal/cli"
)

// WorkerCommand is the argument with which the program starts itself as a worker process: it must call Work then.
const WorkerCommand = "bench-worker"

// Bounds of a Config.
const (
	maxRounds = 100
	maxFleet  = 200
)

// Config says what to measure.
type Config struct {
	Target   cli.Target // one Redis server, which nothing else should use
	Program  string     // that the worker processes run; os.Executable
	Only     string     // measurements, separated by commas, see selectScenarios. Empty: all
	Rounds   int        // that count, after one that does not: 1 to 100
	Members  int        // of the largest gather: 1,000 to 9,000,000
	Fleet    int        // idle worker processes: 1 to 200
	Profiles string     // a directory for profiles of one more round of each side, which does not count; empty: none
	Quick    bool       // everything small: whether it runs, not how fast
	Force    bool       // although Redis holds more than 1,000 keys
	Stderr   io.Writer  // of the worker processes
	Progress func(line string)
	Sampled  func(report.Sample) // is told each sample as it comes; nil: nobody
}

// check returns the scenarios of cfg. The error is one of usage.
func (cfg Config) check() ([]scenario, error) {
	switch {
	case cfg.Target.Kind == cli.Embedded:
		return nil, cli.Usagef("--redis embedded: it would be measured instead of a Redis; start one: redis-server --port 7391 --save '' --appendonly no")
	case cfg.Target.Kind != cli.Single:
		return nil, cli.Usagef("--redis %s: the bench measures one Redis server, redis:// or rediss://", cfg.Target)
	case cfg.Rounds < 1 || cfg.Rounds > maxRounds:
		return nil, cli.Usagef("--rounds %d: must be from 1 to %d", cfg.Rounds, maxRounds)
	case cfg.Members < 1000 || cfg.Members > maxMembers:
		return nil, cli.Usagef("--members %d: must be from 1000 to %d", cfg.Members, maxMembers)
	case cfg.Fleet < 1 || cfg.Fleet > maxFleet:
		return nil, cli.Usagef("--fleet %d: must be from 1 to %d", cfg.Fleet, maxFleet)
	}
	if cfg.Profiles != "" {
		if err := os.MkdirAll(cfg.Profiles, 0o755); err != nil {
			return nil, cli.Usagef("--profiles: %w", err)
		}
	}
	selected, err := selectScenarios(scenarios(cfg), cfg.Only)
	if err != nil {
		return nil, cli.Usagef("--only: %w", err)
	}
	return selected, nil
}

// Run measures, and returns what it has measured, also when it ends with an error: cli.Code says how to exit. Nothing of it is left in
// Redis, and no process.
func Run(ctx context.Context, cfg Config) (run report.Run, err error) {
	selected, err := cfg.check()
	if err != nil {
		return run, err
	}
	s, err := newSession(ctx, cfg)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(s.reason(ctx, err), s.cleanUp()) }()
	run = report.Run{Format: report.Format, Settings: report.Settings{Rounds: cfg.Rounds, Members: cfg.Members, Fleet: cfg.Fleet, Quick: cfg.Quick}}
	if run.Environment, err = s.environment(); err != nil {
		return run, err
	}
	s.env = run.Environment
	cfg.Progress(fmt.Sprintf("%s, keys of this run: *%s*", run.Environment, s.keys))
	for _, sc := range selected {
		err := s.measure(sc, func(sample report.Sample) {
			run.Samples = append(run.Samples, sample)
			if cfg.Sampled != nil {
				cfg.Sampled(sample)
			}
		})
		if err != nil {
			return run, err
		}
	}
	return run, nil
}

// reason returns what ended the session rather than that its client is closed.
func (s *session) reason(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	}
	return unavailable(err)
}
