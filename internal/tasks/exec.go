package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/gatherq/gatherq/pkg/jobs"
)

const (
	maxOutput = 64 << 10        // of stdout and of stderr each; what comes after is read and dropped
	termGrace = 5 * time.Second // from SIGTERM to SIGKILL
	pipeGrace = time.Second     // for a pipe that a child holds open after the program's end
)

// ExecArgs are the arguments of Exec.
type ExecArgs struct {
	// Name is that of a template of the worker.
	Name string `json:"name"`

	// Args are the values of the template's places, an object of strings, numbers or booleans. Where the worker allows free
	// arguments it may be a list of strings instead, appended to those of the template.
	Args json.RawMessage `json:"args,omitempty"`

	// Stdin is what the program reads; empty if not given.
	Stdin string `json:"stdin,omitempty"`
}

// UnmarshalJSON refuses unknown fields.
func (a *ExecArgs) UnmarshalJSON(data []byte) error {
	type plain ExecArgs
	if err := unmarshalStrict(data, (*plain)(a)); err != nil {
		return err
	}
	if a.Name == "" {
		return errors.New("name is empty")
	}
	return nil
}

// ExecResult is the result of Exec, also of a program that failed: its exit code is for the creator to judge.
type ExecResult struct {
	ExitCode        int    `json:"exit_code"`        // -1 when a signal ended it
	Signal          string `json:"signal,omitempty"` // the signal's name
	Stdout          string `json:"stdout"`           // at most 64 KiB
	Stderr          string `json:"stderr"`           // at most 64 KiB
	StdoutBase64    []byte `json:"stdout_base64,omitempty"`
	StderrBase64    []byte `json:"stderr_base64,omitempty"` // instead of the text, where that is not UTF-8
	StdoutTruncated bool   `json:"stdout_truncated,omitempty"`
	StderrTruncated bool   `json:"stderr_truncated,omitempty"`
}

// Exec runs a program of the worker's templates: no shell, no environment, a process group of its own that is ended with the
// task (SIGTERM, after 5 s SIGKILL) and that nothing survives.
var Exec = jobs.Define[ExecArgs, ExecResult]("exec")

// runner runs programs by their templates.
type runner struct {
	templates map[string]*Template
	freeArgs  bool
	grace     time.Duration // from SIGTERM to SIGKILL
}

func newRunner(templates []string, freeArgs bool) (*runner, error) {
	r := &runner{templates: map[string]*Template{}, freeArgs: freeArgs, grace: termGrace}
	for _, s := range templates {
		t, err := ParseTemplate(s)
		if err != nil {
			return nil, fmt.Errorf("--allow-exec: %w", err)
		}
		if r.templates[t.Name] != nil {
			return nil, fmt.Errorf("--allow-exec: %s is given twice", t.Name)
		}
		info, err := os.Stat(t.Path)
		if err != nil {
			return nil, fmt.Errorf("--allow-exec: %s: %w", t.Name, err)
		}
		if !info.Mode().IsRegular() || info.Mode().Perm()&0o111 == 0 {
			return nil, fmt.Errorf("--allow-exec: %s: %s is not an executable file", t.Name, t.Path)
		}
		r.templates[t.Name] = t
	}
	return r, nil
}

func (r *runner) handle(ctx context.Context, args ExecArgs) (ExecResult, error) {
	t := r.templates[args.Name]
	if t == nil {
		known := strings.Join(slices.Sorted(maps.Keys(r.templates)), ", ")
		return ExecResult{}, jobs.Permanent(fmt.Errorf("name %q is no template of this worker (it has %s)", args.Name, known))
	}
	argv, err := r.argv(t, args.Args)
	if err != nil {
		return ExecResult{}, jobs.Permanent(err)
	}
	return r.execute(ctx, t.Path, argv, args.Stdin)
}

// argv returns the program's arguments from a task's args.
func (r *runner) argv(t *Template, raw json.RawMessage) ([]string, error) {
	raw = bytes.TrimSpace(raw)
	var free []string
	values := map[string]string{}
	switch {
	case len(raw) == 0 || string(raw) == "null":
	case raw[0] == '[':
		if !r.freeArgs {
			return nil, errors.New("args is a list: free arguments need --allow-exec-args at the worker")
		}
		if err := json.Unmarshal(raw, &free); err != nil {
			return nil, errors.New("args is a list: its items must be strings")
		}
		if slices.ContainsFunc(free, func(s string) bool { return strings.ContainsRune(s, 0) }) {
			return nil, errors.New("args holds a NUL byte")
		}
	default:
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(raw, &fields); err != nil {
			return nil, errors.New("args must be an object, or a list where free arguments are allowed")
		}
		for name, field := range fields {
			value, err := scalar(field)
			if err != nil {
				return nil, fmt.Errorf("args %q: %w", name, err)
			}
			values[name] = value
		}
	}
	argv, err := t.Fill(values)
	return append(argv, free...), err
}

// scalar returns a string's text, and the JSON of a number or boolean as it stands.
func scalar(raw json.RawMessage) (string, error) {
	switch raw[0] {
	case '"':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case '{', '[', 'n':
		return "", errors.New("must be a string, a number or a boolean")
	}
	return string(raw), nil
}

// execute runs one program to its end, or to the context's.
func (r *runner) execute(ctx context.Context, path string, argv []string, stdin string) (ExecResult, error) {
	if ctx.Err() != nil {
		return ExecResult{}, context.Cause(ctx)
	}
	stdout, stderr := &capped{limit: maxOutput}, &capped{limit: maxOutput}
	// The context ends the whole group below, and not the program alone, as it would here.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, argv...)
	cmd.Env = []string{} // not nil, which would be the worker's own
	cmd.Stdin = strings.NewReader(stdin)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = pipeGrace
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return ExecResult{}, err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		terminateGroup(cmd)
		force := time.NewTimer(r.grace)
		select {
		case <-done: //nolint:errcheck // it ended in time, however
		case <-force.C:
			killGroup(cmd)
			<-done //nolint:errcheck // how a killed program ended does not matter
		}
		force.Stop()
		killGroup(cmd)
		return ExecResult{}, context.Cause(ctx)
	}
	killGroup(cmd) // what the program left behind
	// Neither a failure's exit code nor a child that kept the pipes open is a failure to run it.
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited && !errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState == nil {
		return ExecResult{}, err
	}
	result := ExecResult{ExitCode: cmd.ProcessState.ExitCode(), Signal: signalName(cmd.ProcessState)}
	result.Stdout, result.StdoutBase64, result.StdoutTruncated = stdout.text()
	result.Stderr, result.StderrBase64, result.StderrTruncated = stderr.text()
	return result, nil
}
