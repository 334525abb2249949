package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatherq/gatherq/internal/cli"
)

// healthTimeout bounds the check: container engines give it some seconds.
const healthTimeout = 2500 * time.Millisecond

// newHealth returns the command health.
func newHealth(s *settings) *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Ask the /healthz of a worker on this machine: exit code 0 or 1",
		Long: `Health asks the /healthz of the worker at --admin and exits with 0 if it is healthy, with 1 if not. It is for the health checks of
containers, whose image has no shell and no curl.`,
		Example: `  worker health
  worker health --admin 127.0.0.1:9091`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			addr, err := s.adminAddress()
			if err != nil {
				return err
			}
			if addr == "" {
				return cli.Usagef("--admin is off: there is nothing to ask")
			}
			if err := askHealth(cmd.Context(), reachable(addr)); err != nil {
				return cli.Exit(cli.ExitFailed, err)
			}
			return nil
		},
	}
}

// askHealth returns nil if the worker at addr says that it is healthy.
func askHealth(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/healthz", nil)
	if err != nil {
		return err
	}
	// Not by a proxy of the environment: the worker is on this machine.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	reason, err := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("unhealthy: %s", strings.TrimSpace(string(reason)))
	}
	return nil
}
