package integration

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// acked is a creation that returned without an error.
type acked struct {
	task *jobs.Task[int]
	at   time.Time // when it had returned
}

// powerLoss creates tasks with a worker running and awaits under way, cuts the power in the middle, and starts Redis again.
type powerLoss struct {
	redis  *redistest.Perishable
	client *jobs.Client
	worker *jobs.Worker
}

var perishable = jobs.Define[int, int]("perishable")

func newPowerLoss(t *testing.T, policy string, cfg jobs.ClientConfig) *powerLoss {
	t.Helper()
	p := &powerLoss{redis: redistest.NewPerishable(t, policy)}
	cfg.Logger = slog.New(slog.DiscardHandler) // that Redis is not there is no news
	p.client = client(t, p.redis.Server, cfg)
	w, err := jobs.NewWorker(client(t, p.redis.Server, cfg), jobs.WorkerConfig{Concurrency: 8})
	if err != nil {
		t.Fatal(err)
	}
	jobs.Handle(w, perishable, func(_ context.Context, n int) (int, error) { return n + 1, nil })
	serve(t, w)
	p.worker = w
	return p
}

// loss is what a cut has shown.
type loss struct {
	Loop     int     `json:"loop"`
	Acked    int     `json:"acked"`
	Lost     int     `json:"lost"`
	Bytes    int64   `json:"bytes_not_synced"`
	WindowMS float64 `json:"window_ms"` // from the last fsync to the last acknowledgement
	Ended    int     `json:"awaits_with_values"`
}

// cut is one loop: at least so many creations, then the end of the power. before is called ahead of that, while creations go on.
func (p *powerLoss) cut(t *testing.T, loop, least int, before func()) loss {
	t.Helper()
	const creators = 4
	ctx, stop := context.WithCancel(t.Context()) // creations would wait for Redis to come back
	defer stop()
	var mu sync.Mutex
	var all []acked
	var wg sync.WaitGroup
	enough := make(chan struct{})
	for i := range creators {
		wg.Go(func() {
			for n := 0; ; n++ {
				task, err := jobs.CreateTask(ctx, p.client, perishable.Call(loop*1_000_000+i*100_000+n))
				at := time.Now()
				if err != nil {
					return // the power is gone
				}
				mu.Lock()
				all = append(all, acked{task, at})
				if len(all) == least {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	select {
	case <-enough:
	case <-time.After(patience):
		t.Fatal("creations do not come forward")
	}
	if before != nil {
		before()
	}
	mu.Lock()
	early := all[len(all)-1].task // awaited while the power goes
	mu.Unlock()
	awaited := make(chan error, 1)
	go func() {
		_, err := await.Result(t.Context(), early)
		awaited <- err
	}()
	synced, bytes := p.redis.CutPower(t)
	stop()
	wg.Wait()
	p.redis.Start(t)

	l := loss{Loop: loop, Acked: len(all), Bytes: bytes}
	for _, a := range all {
		l.WindowMS = max(l.WindowMS, float64(a.at.Sub(synced).Microseconds())/1000)
		v, err := await.Result(t.Context(), a.task) // of all that was acknowledged: a value, or that nobody knows it
		switch {
		case err == nil && v > 0:
			l.Ended++
		case errors.Is(err, jobs.ErrUnknown), errors.Is(err, jobs.ErrLost):
			l.Lost++
			if a.at.Before(synced.Add(-asked)) {
				t.Errorf("%s is lost, acknowledged %v before the last fsync began", a.task.ID(), synced.Sub(a.at))
			}
		default:
			t.Errorf("%s: %d, %v", a.task.ID(), v, err)
		}
	}
	select {
	case err := <-awaited:
		if err != nil && !errors.Is(err, jobs.ErrUnknown) && !errors.Is(err, jobs.ErrLost) { // lost: it had seen the record
			t.Errorf("the await that met the cut: %v", err)
		}
	case <-time.After(patience):
		t.Error("the await that met the cut hangs")
	}
	return l
}

// asked is how long an fsync may wait for the thread that does it. From when it is asked for, Redis writes nothing to its file, and goes
// on to answer.
const asked = 500 * time.Millisecond

// times is how often a loop runs: by hand oftener.
func times(short, full int) int {
	if os.Getenv("GATHERQ_LONG") != "" {
		return full
	}
	return short
}

// F12: with an fsync before each answer nothing that was acknowledged is lost when the power goes.
func TestDecision17_PowerLossWithFsyncAlwaysLosesNothing(t *testing.T) {
	t.Parallel()
	p := newPowerLoss(t, "always", jobs.ClientConfig{Durability: jobs.Fsync, AppendFsyncAlways: true})
	for loop := range times(3, 50) {
		l := p.cut(t, loop, 100, nil)
		if l.Lost != 0 {
			t.Errorf("loop %d: %d of %d acknowledged tasks are lost", loop, l.Lost, l.Acked)
		}
		figure(t, "f12", map[string]any{"seen": l})
	}
	healthy(t, p.redis.Server)
}

// F11: with an fsync each second what was acknowledged since the last one is lost, and nothing else; the fleet sees that Redis went back.
func TestDecision17_PowerLossWithFsyncEverySecondLosesTheLastSecond(t *testing.T) {
	t.Parallel()
	p := newPowerLoss(t, "everysec", jobs.ClientConfig{})
	lost, loops := 0, times(1, 20)
	for loop := range loops {
		l := p.cut(t, loop, 300, func() { eventually(t, "a first fsync", func() bool { return p.redis.Synced(t) }) })
		lost += l.Lost
		figure(t, "f11", map[string]any{"seen": l})
	}
	// The same on a disk that has stopped to sync: what is lost holds beats, so that the worker must notice.
	rewinds := rolledBack(p.worker)
	rdb := p.redis.Client(t)
	if err := rdb.ConfigSet(t.Context(), "appendfsync", "no").Err(); err != nil {
		t.Fatal(err)
	}
	l := p.cut(t, loops, 300, func() {
		first := mark(t, rdb)
		eventually(t, "three more beats", func() bool { return mark(t, rdb) >= first+3 })
	})
	if l.Lost == 0 {
		t.Error("nothing is lost of what was never synced: the cut does not cut")
	}
	figure(t, "f11-stalled", map[string]any{"seen": l})
	eventually(t, "the worker sees that Redis has gone back", func() bool { return rolledBack(p.worker) > rewinds })
	healthy(t, p.redis.Server)
}

// rolledBack is how often a worker has seen that Redis went back.
func rolledBack(w *jobs.Worker) (n float64) {
	for _, m := range w.Metrics() {
		for _, s := range m.Samples {
			if m.Name == "gatherq_repairs_total" && s.Label == "rolled_back" {
				n += s.Value
			}
		}
	}
	return n
}

// mark returns the marker of the namespace, which grows with each beat; 0 where it is lost.
func mark(t *testing.T, rdb *redis.Client) int {
	t.Helper()
	n, err := rdb.HGet(t.Context(), "gq:{gatherq}:meta", "mark").Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return n
}
