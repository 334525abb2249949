package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/internal/doctor"
	"github.com/gatherq/gatherq/internal/names"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// newDoctor returns the command doctor.
func newDoctor(a *app) *cobra.Command {
	var again time.Duration
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "read a namespace and say what is orphaned, stale or unmatched with asynq",
		Long: `doctor reads all that a namespace has in Redis, in batches, and says what in it nothing will finish, deliver or remove. It writes nothing. What it
finds it looks for once more after --again, since the fleet moves on, and repairs, meanwhile: only what is still there is a finding.

Each finding is a line: its kind, what it is about, details. docs/operations.md says what each kind means and what to do.
Exit codes: 0 nothing was found; 1 something was; 5 Redis is not reachable.`,
		Example: `  producer doctor
  producer doctor --namespace reports --json`,
		Args: arguments(0, 0),
	}
	cmd.RunE = a.command(func(ctx context.Context, cmd *cobra.Command, _ []string) (err error) {
		if again < 0 || again > time.Hour {
			return cli.Usagef("--again %v: must be from 0 to 1h", again)
		}
		if err := names.Namespace(a.connection.Namespace); err != nil {
			return cli.Usagef("--namespace: %w", err)
		}
		s, err := a.outside(cmd, jobs.ClientConfig{})
		if err != nil {
			return err
		}
		defer finish(&err, s.close)
		report, err := doctor.Examine(ctx, doctor.Config{Redis: s.redis.Client, Namespace: a.connection.Namespace, Again: again})
		if err != nil {
			if context.Cause(ctx) != nil {
				return err
			}
			return cli.Exit(cli.ExitUnavailable, err)
		}
		return s.diagnosis(report)
	})
	cmd.Flags().DurationVar(&again, "again", 5*time.Second, "how long it waits before it looks again for what it found, 0 to 1h")
	return cmd
}

// diagnosis writes a report; with findings it exits with 1.
func (s *session) diagnosis(r doctor.Report) error {
	for _, f := range r.Findings {
		if s.out.json {
			s.out.object(f)
		} else {
			s.out.line(fmt.Appendf(nil, "%s\t%s\t%s", f.Kind, f.Subject, f.Detail))
		}
	}
	if s.out.json {
		s.out.object(diagnosisLine{
			Namespace: r.Namespace, Healthy: len(r.Findings) == 0, Findings: len(r.Findings),
			Keys: r.Keys, Open: r.Open, Deliveries: r.Deliveries, Workers: r.Workers,
		})
	} else {
		s.out.line(fmt.Appendf(nil, "namespace %s: %d findings in %d keys, with %d open, %d deliveries, %d workers",
			r.Namespace, len(r.Findings), r.Keys, r.Open, r.Deliveries, r.Workers))
	}
	if len(r.Findings) > 0 {
		return cli.Exit(cli.ExitFailed, nil)
	}
	return nil
}

// diagnosisLine is the last line of doctor with --json; those before are a doctor.Finding each.
type diagnosisLine struct {
	Namespace  string `json:"namespace"`
	Healthy    bool   `json:"healthy"`
	Findings   int    `json:"findings"`
	Keys       int    `json:"keys"`
	Open       int    `json:"open"`
	Deliveries int    `json:"deliveries"`
	Workers    int    `json:"workers"`
}
