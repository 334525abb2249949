package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Label names a run where several stand beside each other.
func (run Run) Label() string { return "AOF " + run.Environment.AOF }

// Sort orders runs for a document: first the one without an append-only file.
func Sort(runs []Run) {
	slices.SortStableFunc(runs, func(a, b Run) int {
		off := func(r Run) int {
			if r.Environment.AOF == "off" {
				return 0
			}
			return 1
		}
		return cmp.Or(off(a)-off(b), strings.Compare(a.Environment.AOF, b.Environment.AOF))
	})
}

// Environments lists where runs were taken, in Markdown.
func Environments(runs []Run) string {
	var b strings.Builder
	for _, run := range runs {
		e := run.Environment
		fmt.Fprintf(&b, "- **%s**: %s, %s, %d cores, %d MiB; Redis %s on the same machine, %s; %s", run.Label(), e.Time.UTC().Format("2006-01-02"),
			cmp.Or(e.CPU, e.Arch), e.Cores, e.MemoryMiB, e.Redis, snapshots(e), e.Go)
		if e.Commit != "" {
			fmt.Fprintf(&b, ", commit %s", e.Commit)
		}
		fmt.Fprintf(&b, "; rounds: %d; idle fleet: %d", run.Settings.Rounds, run.Settings.Fleet)
		if run.Settings.Quick {
			b.WriteString(" of `--quick`, **too short to mean anything**")
		}
		b.WriteString(".\n")
	}
	return b.String()
}

func snapshots(e Environment) string {
	if e.Snapshots == "" {
		return "no snapshots"
	}
	return "snapshots " + e.Snapshots
}

// Targets returns the figures with targets as a table in Markdown, one column a run: median, extremes, verdict.
func Targets(runs []Run) string {
	var b strings.Builder
	b.WriteString("| | must | stretch |")
	for _, run := range runs {
		fmt.Fprintf(&b, " %s |", run.Label())
	}
	b.WriteString("\n|---|---|---|" + strings.Repeat("---|", len(runs)) + "\n")
	for _, f := range targets {
		fmt.Fprintf(&b, "| %s | %s | %s |", f.name, f.bound(f.must), f.bound(f.stretch))
		for _, run := range runs {
			values := f.values(run)
			if len(values) == 0 {
				b.WriteString(" not measured |")
				continue
			}
			fmt.Fprintf(&b, " %s: %s |", spread(values), f.verdict(SpreadOf(values).Median))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// spread writes a median, and its extremes where there are any.
func spread(values []float64) string {
	s := SpreadOf(values)
	low, high := Number(s.Min), Number(s.Max)
	if low == high {
		return "**" + Number(s.Median) + "**"
	}
	return fmt.Sprintf("**%s** (%s–%s)", Number(s.Median), low, high)
}

// Measured returns all that a run measured as tables in Markdown: what was timed, and what was counted or weighed.
func Measured(run Run) string {
	var b strings.Builder
	b.WriteString("| | n | a second |")
	for _, c := range columns {
		fmt.Fprintf(&b, " %s |", c.head)
	}
	b.WriteString("\n|---|---|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, side := range run.sides() {
		if !side.timed() {
			continue
		}
		fmt.Fprintf(&b, "| `%s` %s | %s | %s |", side.scenario, side.side, thousands(fmt.Sprint(side.n)), spread(run.Values(side.scenario, side.side, PerSecond)))
		for _, c := range columns {
			text := "–"
			if values := run.Values(side.scenario, side.side, c.value); len(values) > 0 {
				text = Number(SpreadOf(values).Median)
			}
			fmt.Fprintf(&b, " %s |", text)
		}
		b.WriteByte('\n')
	}
	b.WriteString("\n| | | |\n|---|---|---|\n")
	for _, side := range run.sides() {
		for _, o := range others {
			values := run.Values(side.scenario, side.side, o.value)
			if len(values) == 0 {
				continue
			}
			text := o.head
			if parts := run.byCommand(side, o.value); parts != "" {
				text += ": " + parts
			}
			fmt.Fprintf(&b, "| `%s` %s | %s | %s |\n", side.scenario, side.side, spread(values), text)
		}
	}
	return b.String()
}
