package report

import (
	"fmt"
	"slices"
	"strings"
)

// Table returns the figures of run for a terminal of 100 columns: those with targets, then all that was measured.
func Table(run Run) string {
	var b strings.Builder
	fmt.Fprintln(&b, run.Environment)
	fmt.Fprintf(&b, "%d rounds; a target is met when the median of the rounds meets it\n", run.Settings.Rounds)
	if run.Settings.Quick {
		b.WriteString("--quick: too short to mean anything\n")
	}
	fmt.Fprintf(&b, "\n%-36s%10s%10s%10s%11s%11s  %s\n", "TARGETS", "median", "min", "max", "must", "stretch", "verdict")
	for _, f := range targets {
		if values := f.values(run); len(values) > 0 {
			s := SpreadOf(values)
			fmt.Fprintf(&b, "%-36s%10s%10s%10s%11s%11s  %s\n", f.name, Number(s.Median), Number(s.Min), Number(s.Max),
				f.bound(f.must), f.bound(f.stretch), f.verdict(s.Median))
		}
	}
	writeTimed(&b, run)
	writeOthers(&b, run)
	return b.String()
}

// writeTimed writes what all timed sides have: operations a second with their extremes, and medians of the rest.
func writeTimed(b *strings.Builder, run Run) {
	fmt.Fprintf(b, "\n%-27s%9s%9s%9s%10s%10s%8s%8s%8s\n", "", "a second", "min", "max", "p50 µs", "p99 µs", "Redis", "workers", "caller")
	scenario := ""
	for _, side := range run.sides() {
		if !side.timed() {
			continue
		}
		if side.scenario != scenario {
			scenario = side.scenario
			fmt.Fprintf(b, "%s, %s\n", scenario, thousands(fmt.Sprint(side.n)))
		}
		s := SpreadOf(run.Values(scenario, side.side, PerSecond))
		fmt.Fprintf(b, "  %-25s%9s%9s%9s", side.side, Number(s.Median), Number(s.Min), Number(s.Max))
		for _, c := range columns {
			text := "-"
			if values := run.Values(scenario, side.side, c.value); len(values) > 0 {
				text = Number(SpreadOf(values).Median)
			}
			width := 8
			if c.value == P50 || c.value == P99 {
				width = 10
			}
			fmt.Fprintf(b, "%*s", width, text)
		}
		b.WriteByte('\n')
	}
	if scenario != "" {
		b.WriteString("Redis, workers, caller: CPU time in µs per operation\n")
	}
}

// writeOthers writes the values that few sides have.
func writeOthers(b *strings.Builder, run Run) {
	scenario := ""
	for _, side := range run.sides() {
		for _, o := range others {
			values := run.Values(side.scenario, side.side, o.value)
			if len(values) == 0 {
				continue
			}
			if side.scenario != scenario {
				scenario = side.scenario
				fmt.Fprintf(b, "\n%s\n", scenario)
			}
			s := SpreadOf(values)
			fmt.Fprintf(b, "  %-25s%10s  %s\n", side.side, Number(s.Median), o.head)
			if parts := run.byCommand(side, o.value); parts != "" {
				fmt.Fprintf(b, "%s%s\n", strings.Repeat(" ", 12), parts)
			}
		}
	}
}

// byCommand lists the commands that a count is made of, the most frequent first.
func (run Run) byCommand(side measured, value string) string {
	type part struct {
		name  string
		count float64
	}
	var parts []part
	for name := range side.values {
		if command, ok := strings.CutPrefix(name, value+"."); ok {
			parts = append(parts, part{command, SpreadOf(run.Values(side.scenario, side.side, name)).Median})
		}
	}
	slices.SortFunc(parts, func(a, b part) int {
		if a.count != b.count {
			return int(max(min((b.count-a.count)*1e6, 1), -1))
		}
		return strings.Compare(a.name, b.name)
	})
	var words []string
	for _, p := range parts {
		if p.count >= 0.005 {
			words = append(words, p.name+" "+Number(p.count))
		}
	}
	return strings.Join(words, ", ")
}

// measured is a side of a scenario and the names of its values.
type measured struct {
	scenario, side string
	n              int
	values         map[string]bool
}

// timed reports whether the clock, and what was used meanwhile, belong to the side.
func (m measured) timed() bool { return m.values[RedisCPU] }

// sides returns what was measured, in that order.
func (run Run) sides() (sides []measured) {
	for _, s := range run.Samples {
		i := slices.IndexFunc(sides, func(m measured) bool { return m.scenario == s.Scenario && m.side == s.Side })
		if i < 0 {
			i = len(sides)
			sides = append(sides, measured{scenario: s.Scenario, side: s.Side, n: s.N, values: make(map[string]bool)})
		}
		for name := range s.Values {
			sides[i].values[name] = true
		}
	}
	return sides
}
