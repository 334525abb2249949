package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func newStatus(a *app) *cobra.Command {
	var watch bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "status ID",
		Short: "show what is known of a task, a group or a member",
		Long: `status shows state, attempts, times, worker and queue of a task or a member (GROUP:INDEX), and the counts of a group, and says why something
does not run yet. The exit code says whether the ID is known, not how it ended. With --watch it shows every change until the end, of a
group until all members have ended.`,
		Example: `  producer status t:0199b3a1-7c3e-7d52-9a4f-5c1d2e3f4a5b
  producer status nightly-import --watch
  producer status nightly-import:17 --json`,
		Args: arguments(1, 1),
	}
	cmd.RunE = a.command(func(ctx context.Context, cmd *cobra.Command, args []string) (err error) {
		if interval < 50*time.Millisecond {
			return cli.Usagef("--interval %v: must be at least 50ms", interval)
		}
		s, err := a.outside(cmd, jobs.ClientConfig{})
		if err != nil {
			return err
		}
		defer finish(&err, s.close)
		if watch {
			return s.watch(ctx, args[0], interval)
		}
		info, err := s.look(ctx, args[0])
		if err != nil {
			s.out.fail(args[0], err)
			return cli.Exit(cli.Code(err), nil)
		}
		if s.out.json {
			s.out.object(statusLine(info))
			return nil
		}
		for _, line := range statusTable(info, time.Now()) {
			s.out.line([]byte(line))
		}
		return nil
	})
	cmd.Flags().BoolVar(&watch, "watch", false, "show every change until the end")
	cmd.Flags().DurationVar(&interval, "interval", 500*time.Millisecond, "how often --watch looks")
	return cmd
}

// look returns what is known of id. What has expired is an error: nothing is left to show.
func (s *session) look(ctx context.Context, id string) (jobs.Info, error) {
	sub, err := s.subject(ctx, id)
	if err != nil {
		return jobs.Info{}, err
	}
	return jobs.Inspect(ctx, s.settled(sub))
}

// watch shows id until it has ended. On a terminal it draws in place.
func (s *session) watch(ctx context.Context, id string, interval time.Duration) error {
	screen := &screen{w: s.out.stdout, inPlace: !s.out.json && isTerminal(s.out.stdout)}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	var last []byte
	for {
		info, err := s.look(ctx, id)
		if err != nil {
			s.report(ctx, &ending{subject: subject{id: id}}, err, awaitFlags{})
			return cli.Exit(cli.Code(err), nil)
		}
		line, err := encode(statusLine(info))
		if err != nil {
			return err
		}
		changed := !bytes.Equal(line, last)
		last = line
		switch {
		case screen.inPlace:
			screen.draw(statusTable(info, time.Now()))
		case changed && s.out.json:
			s.out.line(line)
		case changed:
			s.out.line([]byte(statusWords(info, time.Now())))
		}
		if total, ended := members(info); info.State.Final() && total == ended {
			return nil
		}
		select {
		case <-ctx.Done():
			s.report(ctx, &ending{subject: subject{id: id}}, context.Cause(ctx), awaitFlags{})
			return cli.Exit(cli.Code(context.Cause(ctx)), nil)
		case <-tick.C:
		}
	}
}

// screen draws lines over those it drew before.
type screen struct {
	w       io.Writer
	inPlace bool
	drawn   int
}

func (s *screen) draw(lines []string) {
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	for _, line := range lines {
		b.WriteString(line + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	_, _ = io.WriteString(s.w, b.String())
}
