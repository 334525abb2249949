package bench

import (
	"fmt"
	"time"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// betweenSingles is the pause between two single tasks beside a gather.
const betweenSingles = 20 * time.Millisecond

// beside is how long single tasks wait for their start while a gather runs on the same queue, one after the other until the gather ends.
func beside(members, slots int) side {
	args := naps(members, 1, 0, 0)
	ideal, _ := schedule(args, slots, 0)
	return side{name: "gatherq", n: members, jobs: fleetOf(1, slots), limit: roundLimit + 4*ideal, run: func(r *round) error {
		if err := r.window.open(r.ctx); err != nil {
			return err
		}
		group, err := jobs.Gather(r.ctx, r.client, nap.Calls(args...))
		if err != nil {
			return err
		}
		gathered := make(chan error, 1)
		go func() {
			slept, err := await.All(r.ctx, group)
			for i, got := range slept {
				if got != args[i] {
					err = fmt.Errorf("member %d: result %+v, want %+v", i, got, args[i])
				}
			}
			gathered <- err
		}()
		for {
			created := time.Now()
			task, err := jobs.CreateTask(r.ctx, r.client, stamp.Call(jobs.None{}))
			if err != nil {
				return err
			}
			started, err := await.Result(r.ctx, task)
			if err != nil {
				return err
			}
			select {
			case err := <-gathered: // this one may have started after its end
				if err != nil {
					return err
				}
				r.set("singles", float64(len(r.window.latencies)))
				return r.window.shut(r.ctx)
			default:
			}
			r.window.latencies = append(r.window.latencies, time.Unix(0, started).Sub(created))
			if err := pause(r.ctx, betweenSingles); err != nil {
				return err
			}
		}
	}}
}
