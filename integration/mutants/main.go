// Command mutants plants faults in a copy of the tree, one at a time, and runs for each the test that must turn red. It ends with 1
// where a fault goes unnoticed, or has no place in the code any more.
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
	fmt.Println("| fault | in | test | |\n|---|---|---|---|")
	for _, m := range mutants {
		if len(names) > 0 && !slices.Contains(names, m.name) {
			continue
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

// try plants the fault, runs its test and takes the fault out again.
func (m mutant) try(ctx context.Context, dir string) (verdict string, err error) {
	path := filepath.Join(dir, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.is); n != 1 {
		return "", fmt.Errorf("its place stands %d times in %s, want once: %q", n, m.file, m.is)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(source), m.is, m.fault, 1)), 0o600); err != nil {
		return "", err
	}
	defer func() {
		if restored := os.WriteFile(path, source, 0o600); err == nil {
			err = restored
		}
	}()
	ctx, stop := context.WithTimeout(ctx, within+30*time.Second)
	defer stop()
	cmd := exec.CommandContext(ctx, "go", "test", m.pkg, "-run", "^"+m.test+"$", "-count=1", "-timeout", within.String())
	cmd.Dir = dir
	out, failed := cmd.CombinedOutput()
	text := string(out)
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case strings.Contains(text, "no tests to run"):
		return "", fmt.Errorf("no test %s in %s", m.test, m.pkg)
	case strings.Contains(text, "[build failed]") || strings.Contains(text, "[setup failed]"):
		return "", fmt.Errorf("the fault does not compile:\n%s", text)
	case failed == nil:
		return "GREEN: not noticed", nil
	}
	return "red", nil
}
