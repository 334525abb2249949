package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestLogging(t *testing.T) {
	tests := []struct {
		args []string
		fail string
	}{
		{args: nil},
		{args: []string{"--log-level", "DEBUG", "--log-format", "json"}},
		{args: []string{"--log-level", "loud"}, fail: "--log-level"},
		{args: []string{"--log-format", "xml"}, fail: "--log-format"},
	}
	for _, tt := range tests {
		l := &Logging{}
		fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
		l.Register(fs, "warn")
		if err := fs.Parse(tt.args); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		log, err := l.Logger(&out)
		if tt.fail != "" {
			if Code(err) != ExitUsage || !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("%v: %v", tt.args, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", tt.args, err)
			continue
		}
		log.Debug("quiet", "task_id", "x")
		if isJSON := json.Valid(out.Bytes()) && out.Len() > 0; isJSON != (tt.args != nil) {
			t.Errorf("%v: %q", tt.args, out.String())
		}
	}
}
