package report

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
)

// Table returns the figures of run for a terminal of 100 columns: those with targets, then all that was measured.
func Table(run Run) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%d rounds; a target is met when the median meets it\n", run.Environment, run.Settings.Rounds)
	if run.Settings.Quick {
		b.WriteString("--quick: too short to mean anything\n")
	}
	b.WriteByte('\n')
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "median\tmin\tmax\tmust\tstretch\t\t")
	for _, f := range targets {
		values := f.values(run)
		if len(values) == 0 {
			continue
		}
		s := SpreadOf(values)
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t  %s\n", number(s.Median), number(s.Min), number(s.Max),
			f.target(f.must), f.target(f.stretch), f.verdict(s.Median), f.name)
	}
	_ = table.Flush()
	b.WriteByte('\n')
	table = tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, side := range run.sides() {
		for _, name := range side.names() {
			s := SpreadOf(run.values(side.scenario, side.side, name))
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t  %s\n", side.scenario, number(s.Median), number(s.Min), number(s.Max), name, side.side)
		}
	}
	_ = table.Flush()
	return b.String()
}

// measured is a side of a scenario and the names of its values.
type measured struct {
	scenario, side string
	values         map[string]bool
}

// sides returns what was measured, in that order.
func (run Run) sides() (sides []measured) {
	for _, s := range run.Samples {
		i := slices.IndexFunc(sides, func(m measured) bool { return m.scenario == s.Scenario && m.side == s.Side })
		if i < 0 {
			i = len(sides)
			sides = append(sides, measured{scenario: s.Scenario, side: s.Side, values: make(map[string]bool)})
		}
		for name := range s.Values {
			sides[i].values[name] = true
		}
	}
	return sides
}

func (m measured) names() (names []string) {
	for _, name := range []string{P50, P99, PerSecond, RedisCPU, WorkerCPU, OwnCPU, Commands} {
		if m.values[name] {
			names = append(names, name)
		}
	}
	return names
}
