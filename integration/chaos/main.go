// Command chaos runs the tests of the fault matrix and prints what came of each row. It ends with 1 where one failed or was skipped.
//
//	go run ./integration/chaos [-hand] [-race] [ROW…]
//
// -hand runs the long forms in place of the short ones, where a row has them.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
)

func main() {
	hand := flag.Bool("hand", false, "run the long forms")
	race := flag.Bool("race", false, "with the race detector")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Stdout, flag.Args(), *hand, *race); err != nil {
		fmt.Fprintln(os.Stderr, err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, ids []string, hand, race bool) error {
	all, err := rows()
	if err != nil {
		return err
	}
	var chosen []row
	for _, r := range all {
		if len(ids) == 0 || slices.Contains(ids, r.ID) {
			chosen = append(chosen, r)
		}
	}
	if len(ids) > 0 && len(chosen) != len(ids) {
		return fmt.Errorf("the rows are %s", names(all))
	}
	results, err := runTests(ctx, needed(chosen, hand), race)
	if err != nil {
		return err
	}
	return write(out, chosen, hand, results)
}

func names(all []row) string {
	var ids []string
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	return strings.Join(ids, " ")
}

// tests are those of a row in the form that is asked for.
func (r row) tests(hand bool) (out []test) {
	list := r.CI
	if hand && len(r.Hand) > 0 {
		list = r.Hand
	}
	for _, s := range list {
		t, err := parseTest(s)
		if err != nil {
			panic(err) // rows has looked
		}
		out = append(out, t)
	}
	return out
}

// batch is what one go test runs.
type batch struct {
	env, pkg string
}

// needed are the tests of the rows, each once.
func needed(chosen []row, hand bool) map[batch][]string {
	out := map[batch][]string{}
	for _, r := range chosen {
		for _, t := range r.tests(hand) {
			b := batch{strings.Join(t.env, " "), t.pkg}
			if !slices.Contains(out[b], t.name) {
				out[b] = append(out[b], t.name)
			}
		}
	}
	return out
}

// result is what came of a test.
type result struct {
	action  string // pass, fail, skip, or "not run"
	seconds float64
}

// runTests runs package after package.
func runTests(ctx context.Context, need map[batch][]string, race bool) (map[string]result, error) {
	results := map[string]result{}
	for _, b := range slices.SortedFunc(maps.Keys(need), func(a, b batch) int { return strings.Compare(a.pkg+a.env, b.pkg+b.env) }) {
		fmt.Fprintf(os.Stderr, "%s %s: %d tests\n", b.env, b.pkg, len(need[b]))
		args := []string{"test", "-json", "-count=1", "-timeout", "3h", "-run", "^(" + strings.Join(need[b], "|") + ")$"}
		if race {
			args = append(args, "-race")
		}
		cmd := exec.CommandContext(ctx, "go", append(args, "./"+b.pkg)...)
		cmd.Env = append(os.Environ(), strings.Fields(b.env)...)
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		read(stdout, b, results)
		_ = cmd.Wait() // what failed is among the results; what did not run is missing there
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return results, nil
}

// read takes the results of top-level tests from the output of go test -json, and shows the output of those that fail.
func read(r io.Reader, b batch, results map[string]result) {
	said := map[string][]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct {
			Action, Test, Output string
			Elapsed              float64
		}
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue
		}
		top, _, sub := strings.Cut(e.Test, "/")
		switch e.Action {
		case "output":
			said[top] = append(said[top], e.Output)
		case "pass", "fail", "skip":
			if e.Test == "" || sub {
				break
			}
			if e.Action != "pass" {
				fmt.Fprint(os.Stderr, strings.Join(said[top], ""))
			}
			key := strings.TrimSpace(b.env + " " + b.pkg + "." + e.Test)
			// A test whose subtests run in parallel is over before they are, by its own clock.
			results[key] = result{e.Action, max(e.Elapsed, results[key].seconds)}
			delete(said, top)
		}
		if sub && (e.Action == "pass" || e.Action == "fail") {
			key := strings.TrimSpace(b.env + " " + b.pkg + "." + top)
			results[key] = result{results[key].action, max(e.Elapsed, results[key].seconds)}
		}
	}
	if text := strings.Join(said[""], ""); strings.Contains(text, "FAIL") {
		fmt.Fprint(os.Stderr, text)
	}
}

// write writes the table.
func write(out io.Writer, chosen []row, hand bool, results map[string]result) error {
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "ROW\tFAULT\tTEST\tRESULT\tSECONDS")
	bad := 0
	for _, r := range chosen {
		tests := r.tests(hand)
		for _, t := range tests {
			got, ok := results[t.String()]
			if !ok || got.action == "" {
				got.action = "not run"
			}
			if got.action != "pass" {
				bad++
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%.1f\n", r.ID, r.Fault, t, got.action, got.seconds)
		}
		switch {
		case len(tests) == 0 && r.Why == "":
			fmt.Fprintf(table, "%s\t%s\tby hand: %s\t-\t\n", r.ID, r.Fault, strings.Join(r.Hand, ", "))
		case r.Why != "":
			fmt.Fprintf(table, "%s\t%s\tnone: %s\t-\t\n", r.ID, r.Fault, r.Why)
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d tests of the matrix did not pass", bad)
	}
	return nil
}
