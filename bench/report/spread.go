package report

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Spread is the median and the mean of some values and how far they reach.
type Spread struct {
	Min, Median, Mean, Max float64
	Count                  int
}

// SpreadOf returns the spread of values, the zero Spread of none.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	sum := 0.0
	for _, v := range sorted {
		sum += v
	}
	return Spread{Min: sorted[0], Median: median, Mean: sum / float64(len(sorted)), Max: sorted[len(sorted)-1], Count: len(sorted)}
}

// Percentile returns that of sorted in microseconds, for a percent from 0 to 100; 0 of none.
func Percentile(sorted []time.Duration, percent int) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[(len(sorted)-1)*percent/100].Nanoseconds()) / 1e3
}

// Number writes a figure so that three digits of it can be read: 0.047, 3.21, 45.6, 148, 212,345.
func Number(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a < 0.9995:
		return strconv.FormatFloat(v, 'f', 3, 64)
	case a < 9.995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	case a < 99.95:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return thousands(strconv.FormatFloat(math.Round(v), 'f', 0, 64))
}

// short writes a figure that people have chosen: 4, 0.8, 19,800.
func short(v float64) string {
	if v == math.Trunc(v) {
		return thousands(strconv.FormatFloat(v, 'f', 0, 64))
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}

// thousands puts commas between the digits of an integer.
func thousands(digits string) string {
	sign := ""
	if rest, ok := strings.CutPrefix(digits, "-"); ok {
		sign, digits = "-", rest
	}
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return sign + b.String()
}
