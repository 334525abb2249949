package bench

import (
	"context"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/bench/report"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// napArgs are the arguments of nap, and its result.
type napArgs struct {
	Index int `json:"index"`
	MS    int `json:"ms"`
}

// nap sleeps and returns what it was given.
var nap = jobs.Define[napArgs, napArgs]("bench.nap")

func handleNap(ctx context.Context, a napArgs) (napArgs, error) {
	if a.MS == 0 {
		return a, nil
	}
	return a, pause(ctx, time.Duration(a.MS)*time.Millisecond)
}

// naps returns the arguments of members that sleep ms, but each of slowEvery that sleeps slowMS.
func naps(members, ms, slowEvery, slowMS int) []napArgs {
	args := make([]napArgs, members)
	for i := range args {
		args[i] = napArgs{Index: i, MS: ms}
		if slowEvery > 0 && i%slowEvery == 0 {
			args[i].MS = slowMS
		}
	}
	return args
}

// schedule returns how long args take on so many slots that lose no time between members and take them in call order, and how many
// have ended before a time.
func schedule(args []napArgs, slots int, before time.Duration) (whole time.Duration, early int) {
	free := make([]time.Duration, slots) // when each slot is
	for _, a := range args {
		next := 0
		for i := range free {
			if free[i] < free[next] {
				next = i
			}
		}
		free[next] += time.Duration(a.MS) * time.Millisecond
		whole = max(whole, free[next])
		if free[next] < before {
			early++
		}
	}
	return whole, early
}

// sleeping gathers members that sleep, and compares with slots that lose no time.
func sleeping(name string, args []napArgs, slots int) side {
	ideal, _ := schedule(args, slots, 0)
	return side{name: name, n: len(args), run: func(r *round) error {
		if err := r.window.open(r.ctx); err != nil {
			return err
		}
		slept, err := gatherAll(r, nap, args)
		if err != nil {
			return err
		}
		if err := r.window.shut(r.ctx); err != nil {
			return err
		}
		r.set("ideal_s", ideal.Seconds())
		r.set(report.Ratio, r.window.elapsed.Seconds()/ideal.Seconds())
		for i, got := range slept {
			if got != args[i] {
				return fmt.Errorf("member %d: result %+v, want %+v", i, got, args[i])
			}
		}
		return nil
	}}
}

// onWorkers is sleeping on workers of its own.
func onWorkers(processes, slots int, args []napArgs) side {
	sd := sleeping(fmt.Sprintf("gatherq, %d x %d slots", processes, slots), args, processes*slots)
	sd.jobs, sd.alone = fleetOf(processes, slots), true
	return sd
}

// earlyBefore is when the results of short members are counted that did not wait for long ones.
const earlyBefore = 1500 * time.Millisecond

// stragglers gathers short members with a few long ones among them, and takes results as they complete.
func stragglers(args []napArgs, processes, slots int) side {
	ideal, idealEarly := schedule(args, processes*slots, earlyBefore)
	return side{name: "gatherq", n: len(args), jobs: fleetOf(processes, slots), run: func(r *round) error {
		if err := r.window.open(r.ctx); err != nil {
			return err
		}
		group, err := jobs.Gather(r.ctx, r.client, nap.Calls(args...))
		if err != nil {
			return err
		}
		early := 0
		slept := make([]napArgs, len(args))
		for out, err := range await.AsCompleted(r.ctx, group) {
			if err == nil {
				err = out.Err
			}
			if err != nil {
				return err
			}
			slept[out.Index] = out.Value
			if time.Since(r.window.opened) < earlyBefore {
				early++
			}
		}
		if err := r.window.shut(r.ctx); err != nil {
			return err
		}
		r.set("ideal_s", ideal.Seconds())
		r.set("ideal_early", float64(idealEarly))
		r.set("early", float64(early))
		r.set(report.Ratio, r.window.elapsed.Seconds()/ideal.Seconds())
		for i, got := range slept {
			if got != args[i] {
				return fmt.Errorf("member %d: result %+v, want %+v", i, got, args[i])
			}
		}
		return nil
	}}
}
