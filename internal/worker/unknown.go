package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// How long a task of a type that this worker lacks waits before it is delivered again.
const (
	unknownFirst = time.Second
	unknownLast  = 30 * time.Second
)

// unknownDelay doubles from hand-back to hand-back: the wait so far, and one second.
func unknownDelay(waited time.Duration) time.Duration {
	return min(max(waited, 0)+unknownFirst, unknownLast)
}

// unknown hands back a claimed task whose type this worker lacks, nothing charged. After UnknownTypeWait, and while no live
// worker of the queue knows it, it ends.
func (w *Worker) unknown(c record.Claim) {
	var waited time.Duration
	if !c.UnknownSince.IsZero() {
		waited = w.cfg.Redis(time.Now()).Sub(c.UnknownSince)
	}
	v := verdict{act: actGiveBack, delay: unknownDelay(waited)}
	if waited >= w.cfg.UnknownTypeWait {
		_, mine := w.cfg.Handlers[c.Type] // then it is the envelope that is too new
		known := false
		if !mine {
			var err error
			if known, err = w.cfg.Known(w.life, c.Queue, c.Type); err != nil {
				w.cfg.Log.Warn("could not ask what the other workers know", "task_id", c.ID, "queue", c.Queue, "err", err)
				known = true
			}
		}
		if !known {
			v = verdict{state: record.Failed, failure: unknownFailure(c, mine)}
		}
	}
	w.finish(c.Ref, v, 1, func(ctx context.Context) (record.Settled, error) {
		if v.act == actGiveBack {
			return w.cfg.Records.GiveBack(ctx, w.cfg.ID, c.Ref, v.delay, true)
		}
		return w.cfg.Records.Settle(ctx, w.cfg.ID, c.Ref, record.Outcome{State: v.state, Failure: v.failure, Attempt: c.Attempt})
	})
}

func unknownFailure(c record.Claim, mine bool) *record.Failure {
	if mine {
		return &record.Failure{Kind: kindBadArgs, Message: "its arguments are in an envelope that no worker of its queue knows"}
	}
	return &record.Failure{Kind: kindUnknownType, Message: Clip(fmt.Sprintf("no worker of queue %s knows type %s", c.Queue, c.Type))}
}
