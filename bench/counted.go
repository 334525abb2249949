package bench

import (
	"fmt"
	"time"

	"github.com/gatherq/gatherq/bench/report"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// monitored is a side in which commands of clients are counted while do runs.
func monitored(name string, n int, do func(r *round) error) side {
	return side{name: name, n: n, run: func(r *round) error {
		if err := do(r); err != nil { // so that connections are there and ranges have their size
			return err
		}
		m, err := newMonitor(r.ctx, r.rdb)
		if err != nil {
			return err
		}
		defer m.close()
		counts, err := m.count(r.ctx, func() error { return do(r) })
		if err != nil {
			return err
		}
		r.setCounts(counts, report.ClientCommands, float64(n))
		return nil
	}}
}

// countedTasks is single without the clock.
func countedTasks(tasks, callers int) side {
	return monitored(fmt.Sprintf("single tasks, callers: %d", callers), tasks, func(r *round) error {
		sums := make([]sum, tasks)
		err := forEach(tasks, callers, func(member int) (err error) {
			sums[member], err = r.addOne(member)
			return err
		})
		if err != nil {
			return err
		}
		return checkSums(sums, tasks)
	})
}

// countedGather is gather without the clock.
func countedGather(members int) side {
	return monitored("one gather", members, func(r *round) error {
		args := make([]addArgs, members)
		for i := range args {
			args[i] = argsOf(i)
		}
		sums, err := gatherAll(r, add, args)
		if err != nil {
			return err
		}
		return checkSums(sums, members)
	})
}

// idle counts what worker processes send that have nothing to do, per process and second. They are left alone for parked before.
func idle(processes int, parked, d time.Duration) side {
	return side{
		name: fmt.Sprintf("worker processes: %d", processes), n: processes, jobs: fleetOf(processes, comparedSlots), alone: true, limit: parked + d + roundLimit,
		run: func(r *round) error {
			if err := pause(r.ctx, parked); err != nil {
				return err
			}
			m, err := newMonitor(r.ctx, r.rdb)
			if err != nil {
				return err
			}
			defer m.close()
			began := time.Now()
			counts, err := m.count(r.ctx, func() error { return pause(r.ctx, d) })
			if err != nil {
				return err
			}
			r.setCounts(counts, report.IdleCommands, float64(processes)*time.Since(began).Seconds())
			return nil
		},
	}
}

// wakeTime is the time after a create in which the fleet's commands are counted.
const wakeTime = 200 * time.Millisecond

// wake counts what all together send after one create, with many workers idle: the create itself counts, too, and so does what idle
// workers send anyway in that time, which is told apart.
func wake(processes, times int, parked time.Duration) side {
	return side{name: fmt.Sprintf("worker processes: %d", processes), n: times, jobs: fleetOf(processes, comparedSlots), alone: true, run: func(r *round) error {
		if _, err := r.addOne(0); err != nil { // so that connections are there
			return err
		}
		if err := pause(r.ctx, parked); err != nil {
			return err
		}
		m, err := newMonitor(r.ctx, r.rdb)
		if err != nil {
			return err
		}
		defer m.close()
		var background, after []float64
		for i := range times {
			counts, err := m.count(r.ctx, func() error { return pause(r.ctx, wakeTime) })
			if err != nil {
				return err
			}
			background = append(background, float64(total(counts)))
			var task *jobs.Task[sum]
			counts, err = m.count(r.ctx, func() (err error) {
				if task, err = jobs.CreateTask(r.ctx, r.client, add.Call(argsOf(i))); err != nil {
					return err
				}
				return pause(r.ctx, wakeTime)
			})
			if err != nil {
				return err
			}
			after = append(after, float64(total(counts)))
			if got, err := await.Result(r.ctx, task); err != nil || got != argsOf(i).add() {
				return fmt.Errorf("task %d: %+v, %w", i, got, err)
			}
			if err := pause(r.ctx, wakeTime); err != nil {
				return err
			}
		}
		all, before := report.SpreadOf(after), report.SpreadOf(background)
		r.set(report.WakeCommands, all.Median)
		r.set("wake_commands_max", all.Max)
		r.set("background_commands", before.Median)
		r.set("background_commands_mean", before.Mean)
		return nil
	}}
}
