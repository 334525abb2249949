package cli

import (
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envPrefix begins the name of every variable of the environment that a flag reads.
const envPrefix = "GATHERQ_"

// ownEnv is the annotation of flags whose value is taken from the environment by their owner, see Connection.
const ownEnv = "gatherq_own_env"

// EnvName returns the variable that the flag of that name reads where it is not given: GATHERQ_ and the name in capitals,
// with underscores for dashes.
func EnvName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// BindEnv sets every flag of cmd that was not given from the environment; such a flag counts as given from then on. An empty
// variable is as none. Of a flag that may be repeated, each line of its variable is one value. The error is one of usage, it
// names the variable. Execute calls it before a command runs.
func BindEnv(cmd *cobra.Command) error {
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if failed != nil || f.Changed || f.Name == "help" || f.Name == "version" || f.Annotations[ownEnv] != nil {
			return
		}
		name := EnvName(f.Name)
		value := os.Getenv(name)
		if value == "" {
			return
		}
		values := []string{value}
		if f.Value.Type() == "stringArray" {
			values = nil
			for line := range strings.Lines(value) {
				if line = strings.TrimSpace(line); line != "" {
					values = append(values, line)
				}
			}
		}
		for _, v := range values {
			if err := cmd.Flags().Set(f.Name, v); err != nil {
				failed = Usagef("environment variable %s: %w", name, err)
				return
			}
		}
	})
	return failed
}
