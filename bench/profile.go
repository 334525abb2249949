package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatherq/gatherq/bench/report"
)

// profiling is the file of the CPU profile that this process takes; there is one at a time.
var profiling *os.File

func beginProfile(file string) (err error) {
	if profiling, err = os.Create(file); err != nil {
		return err
	}
	return pprof.StartCPUProfile(profiling)
}

func endProfile() error {
	pprof.StopCPUProfile()
	return profiling.Close()
}

func profileOf(pid int) string { return strconv.Itoa(pid) + ".pprof" }

// profile runs a side once more: CPU profiles of this process and of the workers, and what Redis did by command, go into files named
// SCENARIO.SIDE.producer.pprof, .worker-1.pprof and .redis.txt.
func (s *session) profile(sc scenario, sd side, workers []*process) (err error) {
	name := strings.NewReplacer(" ", "-", ",", "", "/", "-").Replace(sc.name + "." + sd.name)
	path := func(suffix string) string { return filepath.Join(s.cfg.Profiles, name+"."+suffix) }
	info, err := readInfo(s.ctx, s.rdb)
	if err != nil {
		return err
	}
	redis, _ := strconv.Atoi(info["process_id"])
	processes := []*scheduled{{name: "Redis", pids: []int{redis}}, {name: "workers", pids: pidsOf(workers)}, {name: "producer", pids: []int{os.Getpid()}}}
	var before, after map[string]commandStat
	var took time.Duration
	profiled := sd
	profiled.run = func(r *round) (err error) {
		if err := askAll(r.ctx, workers, orderProfile); err != nil {
			return err
		}
		if err := beginProfile(path("producer.pprof")); err != nil {
			return err
		}
		if before, err = s.commandStats(); err == nil {
			began := time.Now()
			for _, p := range processes {
				p.read(-1)
			}
			err = sd.run(r)
			for _, p := range processes {
				p.read(1)
			}
			took = time.Since(began)
		}
		err = errors.Join(err, endProfile(), askAll(context.WithoutCancel(r.ctx), workers, orderProfiled))
		if err == nil {
			after, err = s.commandStats()
		}
		return err
	}
	values, err := s.measureSide(profiled, workers)
	if err != nil {
		return err
	}
	for i, pid := range pidsOf(workers) {
		if err := os.Rename(filepath.Join(s.cfg.Profiles, profileOf(pid)), path(fmt.Sprintf("worker-%d.pprof", i+1))); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("%s; commit %s, %s\n%s\n%s", s.env, s.env.Commit, s.env.Time.Format("2006-01-02"), coresOf(processes, took), redisProfile(values, sd.n, before, after))
	return os.WriteFile(path("redis.txt"), []byte(text), 0o644)
}

// scheduled is what the threads of some processes of this machine did in a time: nanoseconds that they ran, and that they waited for a core.
type scheduled struct {
	name          string
	pids          []int
	runs, waiting float64
}

// read adds what was so far, by that factor. Where the system does not tell it adds nothing.
func (p *scheduled) read(by float64) {
	for _, pid := range p.pids {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, file := range files {
			text, _ := os.ReadFile(file)
			var runs, waiting float64
			if _, err := fmt.Sscan(string(text), &runs, &waiting); err == nil {
				p.runs, p.waiting = p.runs+by*runs, p.waiting+by*waiting
			}
		}
	}
}

// coresOf says how many cores each had, and how many more it would have used at once.
func coresOf(processes []*scheduled, took time.Duration) string {
	var parts []string
	for _, p := range processes {
		parts = append(parts, fmt.Sprintf("%s %.2f (%.2f)", p.name, p.runs/float64(took), p.waiting/float64(took)))
	}
	return fmt.Sprintf("cores used, and threads that waited for one: %s; over %s\n", strings.Join(parts, ", "), took.Round(time.Millisecond))
}

// commandStat is what Redis has done of one command: inside scripts, too, whose time contains that of their commands.
type commandStat struct {
	calls, micros float64
}

func (s *session) commandStats() (map[string]commandStat, error) {
	text, err := s.rdb.Info(s.ctx, "commandstats").Result()
	if err != nil {
		return nil, fmt.Errorf("INFO commandstats: %w", err)
	}
	stats := make(map[string]commandStat)
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		name, ok := strings.CutPrefix(name, "cmdstat_")
		if !ok {
			continue
		}
		var c commandStat
		for part := range strings.SplitSeq(rest, ",") {
			switch key, value, _ := strings.Cut(part, "="); key {
			case "calls":
				c.calls, err = strconv.ParseFloat(value, 64)
			case "usec":
				c.micros, err = strconv.ParseFloat(value, 64)
			}
			if err != nil {
				return nil, fmt.Errorf("INFO commandstats: %q: %w", line, err)
			}
		}
		stats[name] = c
	}
	return stats, nil
}

// redisProfile says what n operations cost Redis: the CPU time of the process, and its commands, the dearest first.
func redisProfile(values map[string]float64, n int, before, after map[string]commandStat) string {
	type line struct {
		name string
		commandStat
	}
	var lines []line
	for name, a := range after {
		if b := before[name]; a.calls > b.calls {
			lines = append(lines, line{name, commandStat{(a.calls - b.calls) / float64(n), (a.micros - b.micros) / float64(n)}})
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return cmp.Or(cmp.Compare(b.micros, a.micros), strings.Compare(a.name, b.name)) })
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations, %s a second; CPU time of an operation in µs: Redis %s, workers %s, producer %s\n\n", n, report.Number(values[report.PerSecond]),
		report.Number(values[report.RedisCPU]), report.Number(values[report.WorkerCPU]), report.Number(values[report.OwnCPU]))
	fmt.Fprintf(&b, "%-20s%14s%14s%14s\n", "INFO commandstats", "calls/op", "µs/call", "µs/op")
	for _, l := range lines {
		fmt.Fprintf(&b, "%-20s%14.4f%14s%14s\n", l.name, l.calls, report.Number(l.micros/l.calls), report.Number(l.micros))
	}
	return b.String()
}
