package report

import (
	"testing"
	"time"
)

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{7}, Spread{Min: 7, Median: 7, Mean: 7, Max: 7, Count: 1}},
		{[]float64{4, 1, 3, 2}, Spread{Min: 1, Median: 2.5, Mean: 2.5, Max: 4, Count: 4}},
		{[]float64{5, 1, 9}, Spread{Min: 1, Median: 5, Mean: 5, Max: 9, Count: 3}},
	} {
		if got := SpreadOf(test.values); got != test.want {
			t.Errorf("%v: %+v, want %+v", test.values, got, test.want)
		}
	}
}

func TestPercentile(t *testing.T) {
	t.Parallel()
	var sorted []time.Duration
	for micros := range 101 {
		sorted = append(sorted, time.Duration(micros)*time.Microsecond)
	}
	for _, percent := range []int{0, 50, 99, 100} {
		if got := Percentile(sorted, percent); got != float64(percent) {
			t.Errorf("p%d is %v", percent, got)
		}
	}
	if got := Percentile(nil, 50); got != 0 {
		t.Errorf("of none %v", got)
	}
}

func TestNumbersKeepThreeDigits(t *testing.T) {
	t.Parallel()
	for v, want := range map[float64]string{
		0: "0", 0.0472: "0.047", 0.9994: "0.999", 0.9996: "1.00", 3.21: "3.21", 9.996: "10.0", 45.64: "45.6", 99.96: "100", 999.6: "1,000",
		212_345: "212,345", 1_000_000: "1,000,000", -1_234: "-1,234",
	} {
		if got := Number(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
	for v, want := range map[float64]string{4: "4", 0.8: "0.8", 1.05: "1.05", 19_800: "19,800"} {
		if got := short(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}
