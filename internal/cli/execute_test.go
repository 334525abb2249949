package cli

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// tree is a small command tree with flags of every kind.
type tree struct {
	root   *cobra.Command
	stderr bytes.Buffer
	stdout bytes.Buffer
	many   []string
	count  int
	name   string
	deep   bool
	err    error
}

func newTree(args ...string) *tree {
	tr := &tree{}
	tr.root = &cobra.Command{Use: "prog", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return tr.err }}
	tr.root.PersistentFlags().StringVar(&tr.name, "a-name", "x", "")
	tr.root.Flags().IntVar(&tr.count, "count", 1, "")
	sub := &cobra.Command{Use: "sub ONE", Args: cobra.ExactArgs(1), RunE: func(*cobra.Command, []string) error { return tr.err }}
	sub.Flags().StringArrayVar(&tr.many, "many", nil, "")
	sub.Flags().BoolVar(&tr.deep, "deep", false, "")
	tr.root.AddCommand(sub)
	tr.root.SetArgs(args)
	tr.root.SetErr(&tr.stderr)
	tr.root.SetOut(&tr.stdout)
	return tr
}

func TestExecuteUsage(t *testing.T) {
	tests := []struct {
		args []string
		env  map[string]string
		err  error
		code int
		say  string
	}{
		{args: []string{}, code: 0},
		{args: []string{"--nope"}, code: 2, say: "--nope"},
		{args: []string{"--count", "x"}, code: 2, say: "--count"},
		{args: []string{"nope"}, code: 2, say: "nope"},
		{args: []string{"sub"}, code: 2, say: "arg"},
		{args: []string{"sub", "a", "--many"}, code: 2, say: "--many"},
		{args: []string{"sub", "a"}, env: map[string]string{"GATHERQ_DEEP": "perhaps"}, code: 2, say: "GATHERQ_DEEP"},
		{args: []string{"sub", "a"}, env: map[string]string{"GATHERQ_COUNT": "x"}, code: 0}, // not a flag of sub
		{args: []string{}, env: map[string]string{"GATHERQ_HELP": "x", "GATHERQ_VERSION": "x", "GATHERQ_COUNT": ""}, code: 0},
		{args: []string{}, err: errors.New("broken"), code: 1, say: "prog: broken"},
		{args: []string{}, err: Usagef("--x: bad"), code: 2, say: "prog: --x: bad"},
		{args: []string{}, err: Exit(7, nil), code: 7},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			for k, v := range tt.env {
				t.Setenv(k, v)
			}
			tr := newTree(tt.args...)
			tr.err = tt.err
			if code := Execute(context.Background(), tr.root); code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
			got := tr.stderr.String()
			if tt.say == "" && got != "" || !strings.Contains(got, tt.say) {
				t.Errorf("stderr %q, want %q", got, tt.say)
			}
			if tr.stdout.Len() > 0 {
				t.Errorf("stdout %q", tr.stdout.String())
			}
		})
	}
}

func TestBindEnv(t *testing.T) {
	t.Setenv("GATHERQ_A_NAME", "env")
	t.Setenv("GATHERQ_MANY", "one 1\n\n  two=2, x \n")
	t.Setenv("GATHERQ_DEEP", "true")
	tr := newTree("sub", "a")
	if code := Execute(context.Background(), tr.root); code != 0 {
		t.Fatalf("code %d: %s", code, tr.stderr.String())
	}
	if tr.name != "env" || !tr.deep || !slices.Equal(tr.many, []string{"one 1", "two=2, x"}) {
		t.Errorf("name %q, deep %v, many %q", tr.name, tr.deep, tr.many)
	}

	tr = newTree("sub", "a", "--a-name", "flag", "--many", "flag", "--deep=false")
	if code := Execute(context.Background(), tr.root); code != 0 {
		t.Fatalf("code %d: %s", code, tr.stderr.String())
	}
	if tr.name != "flag" || tr.deep || !slices.Equal(tr.many, []string{"flag"}) {
		t.Errorf("flags do not win: name %q, deep %v, many %q", tr.name, tr.deep, tr.many)
	}
}

func TestVersionFlag(t *testing.T) {
	tr := newTree("--version")
	if code := Execute(context.Background(), tr.root); code != 0 {
		t.Fatalf("code %d", code)
	}
	if got := tr.stdout.String(); !strings.HasPrefix(got, "prog ") || !strings.Contains(got, "go1.") {
		t.Errorf("version %q", got)
	}
}
