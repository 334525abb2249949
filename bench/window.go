package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/bench/report"
)

// window is the measured part of a round: the wall clock, and what Redis, the workers and this process used between open and shut.
type window struct {
	rdb       *redis.Client
	workers   []*process
	opened    time.Time
	elapsed   time.Duration
	before    usage
	after     usage
	latencies []time.Duration // none where a round gives one figure only
}

// usage is what was used since the start, in microseconds of CPU time.
type usage struct {
	redis, own, workers float64
	commands            int64
}

func (w *window) open(ctx context.Context) (err error) {
	if w.before, err = w.usage(ctx); err != nil {
		return err
	}
	w.opened = time.Now()
	return nil
}

func (w *window) shut(ctx context.Context) (err error) {
	w.elapsed = time.Since(w.opened)
	w.after, err = w.usage(ctx)
	return err
}

func (w *window) usage(ctx context.Context) (u usage, err error) {
	for _, p := range w.workers {
		used, err := p.cpu(ctx)
		if err != nil {
			return u, err
		}
		u.workers += used
	}
	u.own = cpuMicros()
	info, err := readInfo(ctx, w.rdb)
	if err != nil {
		return u, err
	}
	user, userErr := strconv.ParseFloat(info["used_cpu_user"], 64)
	sys, sysErr := strconv.ParseFloat(info["used_cpu_sys"], 64)
	commands, commandsErr := strconv.ParseInt(info["total_commands_processed"], 10, 64)
	if userErr != nil || sysErr != nil || commandsErr != nil {
		return u, fmt.Errorf("INFO lacks used_cpu_user, used_cpu_sys or total_commands_processed")
	}
	u.redis, u.commands = (user+sys)*1e6, commands
	return u, nil
}

// values returns the figures of n operations. The INFO that opened the window is left out of the commands: it is not in its own
// reply, but is in the later one.
func (w *window) values(n int) map[string]float64 {
	per := float64(n)
	values := map[string]float64{
		report.Seconds:   w.elapsed.Seconds(),
		report.PerSecond: per / w.elapsed.Seconds(),
		report.RedisCPU:  (w.after.redis - w.before.redis) / per,
		report.OwnCPU:    (w.after.own - w.before.own) / per,
		report.WorkerCPU: (w.after.workers - w.before.workers) / per,
		report.Commands:  float64(w.after.commands-w.before.commands-1) / per,
	}
	addLatencies(values, w.latencies)
	return values
}

// addLatencies adds the distribution of latencies, if there are any.
func addLatencies(values map[string]float64, latencies []time.Duration) {
	if len(latencies) == 0 {
		return
	}
	sorted := slices.Sorted(slices.Values(latencies))
	for name, percent := range map[string]int{"min_us": 0, "p25_us": 25, report.P50: 50, "p75_us": 75, "p90_us": 90, report.P99: 99, "max_us": 100} {
		values[name] = report.Percentile(sorted, percent)
	}
}

// readInfo asks for the default sections with one command, which every version understands.
func readInfo(ctx context.Context, rdb *redis.Client) (map[string]string, error) {
	text, err := rdb.Info(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("INFO: %w", err)
	}
	info := make(map[string]string)
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	return info, nil
}
