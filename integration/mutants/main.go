// Command mutants plants faults in a copy of the tree, one at a time, and runs for each the test that must turn red, after it was green
// without the fault. It ends with 1 where a fault goes unnoticed, a test is red anyway, or a fault has no place in the code any more.
//
//	go run ./integration/mutants [NAME…]
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// within bounds one test: a fault may make it hang, which is red, too.
const within = 3 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	dir, err := os.MkdirTemp("", "gatherq-mutants-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := copyTree(ctx, dir); err != nil {
		return err
	}
	unnoticed := 0
	green := map[string]bool{} // tests that pass without a fault
	fmt.Println("| fault | in | test | |\n|---|---|---|---|")
	for _, m := range mutants {
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
		}
		if of := m.pkg + "." + m.test; !green[of] {
			out, passed, err := m.runTest(ctx, dir)
			if err != nil {
				return err
			}
			if !passed {
				return fmt.Errorf("%s is red without a fault:\n%s", of, out)
			}
			green[of] = true
		}
		verdict, err := m.try(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		if verdict != "red" {
			unnoticed++
		}
		fmt.Printf("| %s | `%s` | `%s` | %s |\n", m.name, m.file, m.test, verdict)
	}
	if unnoticed > 0 {
		return fmt.Errorf("%d faults were not noticed", unnoticed)
	}
	return nil
}

// copyTree copies what git knows of the module, as it stands in the working tree, into dir.
func copyTree(ctx context.Context, dir string) error {
	out, err := exec.CommandContext(ctx, "git", "ls-files", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return fmt.Errorf("git ls-files, which must run at the top of the module: %w", err)
	}
	for name := range strings.Lines(string(out)) {
		name = strings.TrimSpace(name)
		b, err := os.ReadFile(name)
		if os.IsNotExist(err) {
			continue // deleted, and not committed
		}
		if err != nil {
			return err
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// plant puts the fault into the text of its file.
func (m mutant) plant(source string) (string, error) {
	if n := strings.Count(source, m.is); n != 1 {
		return "", fmt.Errorf("its place stands %d times in %s, want once: %q", n, m.file, m.is)
	}
	return strings.Replace(source, m.is, m.fault, 1), nil
}

// try plants the fault, runs its test and takes the fault out again.
func (m mutant) try(ctx context.Context, dir string) (verdict string, err error) {
	path := filepath.Join(dir, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	wrong, err := m.plant(string(source))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(path, []byte(wrong), 0o600); err != nil {
		return "", err
	}
	defer func() {
		if restored := os.WriteFile(path, source, 0o600); err == nil {
			err = restored
		}
	}()
	_, passed, err := m.runTest(ctx, dir)
	switch {
	case err != nil:
		return "", err
	case passed:
		return "GREEN: not noticed", nil
	}
	return "red", nil
}

// runTest runs the test in the copy, as it stands. It is an error where there is nothing to be red or green: no such test, nothing that
// compiles, no end even after go test's own limit.
func (m mutant) runTest(ctx context.Context, dir string) (out string, passed bool, err error) {
	ctx, stop := context.WithTimeout(ctx, within+2*time.Minute) // which is there to compile
	defer stop()
	cmd := exec.CommandContext(ctx, "go", "test", m.pkg, "-run", "^"+m.test+"$", "-count=1", "-timeout", within.String())
	cmd.Dir = dir
	b, failed := cmd.CombinedOutput()
	out = string(b)
	switch {
	case ctx.Err() != nil:
		return out, false, context.Cause(ctx)
	case strings.Contains(out, "no tests to run"):
		return out, false, fmt.Errorf("no test %s in %s", m.test, m.pkg)
	case strings.Contains(out, "[build failed]") || strings.Contains(out, "[setup failed]"):
		return out, false, fmt.Errorf("it does not compile:\n%s", out)
	}
	return out, failed == nil, nil
}
