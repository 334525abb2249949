package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
)

// Execute runs root with the process' arguments (or those of root.SetArgs) and returns its exit code; the caller passes it to
// os.Exit. It prints the error, if there is one, as one line on stderr. Whatever goes wrong before a command's RunE has begun is bad usage:
// exit code 2. Each flag that was not given is read from the environment first, see BindEnv.
//
// Root must not set SilenceErrors, SilenceUsage, Version or a flag error function: Execute does.
func Execute(ctx context.Context, root *cobra.Command) int {
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.Version = Version()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	var ran bool
	var last *cobra.Command
	prepare(root, func(cmd *cobra.Command) error {
		last = cmd
		if err := BindEnv(cmd); err != nil {
			return err
		}
		ran = true
		return nil
	})
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return ExitOK
	}
	if last != nil {
		cmd = last
	}
	code := Code(err)
	if !ran {
		code = ExitUsage
	}
	if e, silent := err.(*ExitError); silent && e.Err == nil { //nolint:errorlint // only the outermost error may ask for silence
		return code
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v\n", root.Name(), err)
	if code == ExitUsage && !ran {
		fmt.Fprintf(cmd.ErrOrStderr(), "Try '%s --help'.\n", cmd.CommandPath())
	}
	return code
}

// prepare calls before at the beginning of every command's RunE.
func prepare(cmd *cobra.Command, before func(*cobra.Command) error) {
	if run := cmd.RunE; run != nil {
		cmd.RunE = func(c *cobra.Command, args []string) error {
			if err := before(c); err != nil {
				return err
			}
			return run(c, args)
		}
	}
	for _, sub := range cmd.Commands() {
		prepare(sub, before)
	}
}
