package tasks

import (
	"context"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// maxPause bounds every pause that a task may ask for, in milliseconds: 24 h, as the longest running time.
const maxPause = int64(24 * time.Hour / time.Millisecond)

// SleepArgs are the arguments of Sleep.
type SleepArgs struct {
	MS int64 `json:"ms"` // 0 to 86,400,000
}

// UnmarshalJSON refuses unknown fields and what is out of bounds.
func (a *SleepArgs) UnmarshalJSON(data []byte) error {
	type plain SleepArgs
	if err := unmarshalStrict(data, (*plain)(a)); err != nil {
		return err
	}
	return checkPause("ms", a.MS)
}

func checkPause(field string, ms int64) error {
	if ms < 0 || ms > maxPause {
		return fmt.Errorf("%s is %d: must be from 0 to %d", field, ms, maxPause)
	}
	return nil
}

// Slept is the result of Sleep.
type Slept struct {
	MS int64 `json:"slept_ms"` // as measured
}

// Sleep sleeps, until its time is over or it is cancelled.
var Sleep = jobs.Define[SleepArgs, Slept]("sleep")

func sleep(ctx context.Context, args SleepArgs) (Slept, error) {
	begin := time.Now()
	if err := pause(ctx, args.MS); err != nil {
		return Slept{}, err
	}
	return Slept{MS: time.Since(begin).Milliseconds()}, nil
}

// pause sleeps ms milliseconds; it returns the cause of the context's end when that comes first.
func pause(ctx context.Context, ms int64) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
