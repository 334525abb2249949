package fleet

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"
)

// StraysConfig is what a Strays works with. All fields are needed.
type StraysConfig struct {
	Queues []string
	// Look puts back what the answer of a lost dequeue named and is older than age, and removes what nobody waits for.
	Look    func(ctx context.Context, queue string, age time.Duration) (back, removed int, err error)
	Errands func() Errands // what the last beat said
	Calm    bool           // as in PromoterConfig
	Repairs *Repairs       // may be nil
	Log     *slog.Logger
}

// Strays looks after deliveries that the carrier handed out and that never arrived: a dequeue whose answer is lost is not
// repeated, since that would lose them for good.
type Strays struct{ cfg StraysConfig }

const (
	strayAge   = 4 * time.Second // asynq's clock ticks in seconds: at least three
	strayEvery = 5 * time.Second // between looks into one queue
)

// NewStrays returns a Strays that Run starts.
func NewStrays(cfg StraysConfig) *Strays { return &Strays{cfg: cfg} }

// Run looks into the queues until ctx ends: into those of which the beats say that something went astray, or all where they see
// no queues.
func (s *Strays) Run(ctx context.Context) {
	every, pace := strayEvery, time.Second
	if s.cfg.Calm {
		every, pace = every*calm, every*calm
	}
	last := make(map[string]time.Time, len(s.cfg.Queues))
	for {
		// not all workers of a fleet at the same moment
		timer := time.NewTimer(pace/2 + rand.N(pace))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		e := s.cfg.Errands()
		for _, q := range s.cfg.Queues {
			if len(e.Shards) > 0 && !slices.Contains(e.Strays, q) || time.Since(last[q]) < every {
				continue
			}
			last[q] = time.Now()
			back, removed, err := s.cfg.Look(ctx, q, strayAge)
			s.cfg.Repairs.Repaired(RepairPutBack, back)
			s.cfg.Repairs.Repaired(RepairRemoved, removed)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				s.cfg.Log.Warn("could not look for stray deliveries", "queue", q, "err", err)
			case back+removed > 0:
				s.cfg.Log.Warn("deliveries had been handed out and never arrived", "queue", q, "put_back", back, "removed", removed)
			}
		}
	}
}
