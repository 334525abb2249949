package integration

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/history"
)

// gauged calls note every so often, not at all where that is 0, until the function that it returns has been called.
func gauged(every time.Duration, note func()) (stop func()) {
	if every == 0 {
		return func() {}
	}
	end, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for tick := time.Tick(every); ; {
			select {
			case <-end:
				return
			case <-tick:
				note()
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(end)
		<-over
	})
}

// ownSize is what this process has: goroutines, open files, KiB in memory.
func ownSize() map[string]int {
	n := headcount()
	pages, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		panic(err)
	}
	if fields := bytes.Fields(pages); len(fields) > 1 {
		rss, _ := strconv.Atoi(string(fields[1]))
		n["KiB"] = rss * os.Getpagesize() / 1024
	}
	return n
}

// redisSize is what Redis has: keys, KiB of its allocations. It is nil while Redis does not answer.
func redisSize(ctx context.Context, rdb *redis.Client) map[string]int {
	keys, err := rdb.DBSize(ctx).Result()
	if err != nil {
		return nil
	}
	memory, err := strconv.Atoi(rdb.InfoMap(ctx, "memory").Item("Memory", "used_memory"))
	if err != nil {
		return nil
	}
	return map[string]int{"keys": int(keys), "KiB": memory / 1024}
}

// growing is how a size changed.
type growing struct {
	Mean    int     `json:"mean"`
	Samples int     `json:"samples"`
	PerHour float64 `json:"percent_an_hour"` // of the line through all samples, by least squares, relative to their mean
}

// growth reads the gauges of a history from so long after the first one on. Processes of a role count as one.
func growth(t *testing.T, path string, after time.Duration) map[string]growing {
	t.Helper()
	events, err := history.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	var first int64
	xs, ys := map[string][]float64{}, map[string][]float64{}
	for _, e := range events {
		if e.Kind != history.Gauge || e.Phase != history.Invoke {
			continue
		}
		if first == 0 {
			first = e.At
		}
		if e.At < first+int64(after) {
			continue
		}
		for what, n := range e.Count {
			name := e.ID + " " + what
			xs[name], ys[name] = append(xs[name], time.Duration(e.At).Hours()), append(ys[name], float64(n))
		}
	}
	if len(ys) == 0 {
		t.Fatal("the history has no gauges")
	}
	out := map[string]growing{}
	for name := range ys {
		mean, slope := trend(xs[name], ys[name])
		out[name] = growing{Mean: int(mean), Samples: len(ys[name]), PerHour: 100 * slope / mean}
	}
	return out
}

// trend is the mean of the ys, and the slope of the line through all points by least squares.
func trend(xs, ys []float64) (mean, slope float64) {
	var x, y, xx, xy float64
	n := float64(len(xs))
	for i := range xs {
		x, y = x+xs[i]/n, y+ys[i]/n
	}
	for i := range xs {
		xx, xy = xx+(xs[i]-x)*(xs[i]-x), xy+(xs[i]-x)*(ys[i]-y)
	}
	if xx == 0 {
		return y, 0
	}
	return y, xy / xx
}

func TestGrowthIsSeen(t *testing.T) {
	if mean, slope := trend([]float64{1, 2, 3, 4}, []float64{10, 12, 14, 16}); mean != 13 || slope != 2 {
		t.Errorf("mean %v, slope %v", mean, slope)
	}
	path := filepath.Join(t.TempDir(), "h")
	sc, err := history.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		sc.Note(history.Event{Kind: history.Gauge, ID: "redis", Count: map[string]int{"keys": 100 + i}})
		sc.Note(history.Event{Kind: history.Gauge, ID: "worker", Count: map[string]int{"goroutines": 7}})
	}
	sc.Close()
	got := growth(t, path, 0)
	if names := slices.Sorted(maps.Keys(got)); !slices.Equal(names, []string{"redis keys", "worker goroutines"}) {
		t.Errorf("%v", got)
	}
	if g := got["redis keys"]; g.Mean != 102 || g.Samples != 5 || g.PerHour <= 0 {
		t.Errorf("%+v", g)
	}
	if g := got["worker goroutines"]; g.Mean != 7 || g.PerHour != 0 {
		t.Errorf("%+v", g)
	}
}
