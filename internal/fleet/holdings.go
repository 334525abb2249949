package fleet

import (
	"context"
	"log/slog"
	"time"

	"github.com/gatherq/gatherq/internal/group"
)

// HoldingsConfig is what a Holdings works with. All fields are needed.
type HoldingsConfig struct {
	ID     string // of the worker
	Shards int
	// Recorded reads a page of what the records say that the worker holds; as group.Store's Holdings.
	Recorded func(ctx context.Context, shard int, worker, cursor string) (items []string, next string, err error)
	// Held returns what the worker knows that it holds, named as in the records.
	Held   func() map[string]struct{}
	Reaper *Reaper
	Calm   bool // as in PromoterConfig
	Log    *slog.Logger
}

// Holdings compares what the records say that a worker holds with what it knows of, and gives the difference back, nothing charged:
// a claim whose answer never came, an end that Redis refused for good.
type Holdings struct {
	cfg     HoldingsConfig
	missing []map[string]struct{} // by shard: what the look before did not find in the worker's hands
}

// NewHoldings returns a Holdings that Run starts.
func NewHoldings(cfg HoldingsConfig) *Holdings {
	return &Holdings{cfg: cfg, missing: make([]map[string]struct{}, max(cfg.Shards, 1))}
}

const (
	holdingsEvery = 10 * time.Second // between two looks at the same shard, unless there are many
	holdingsRate  = 2 * time.Second  // between two looks
	holdingsMost  = 1000             // that a look remembers
)

// Run compares one shard after the other until ctx ends.
func (h *Holdings) Run(ctx context.Context) {
	every := max(holdingsEvery/time.Duration(len(h.missing)), holdingsRate)
	if h.cfg.Calm {
		every *= calm
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for shard := 0; ; shard = (shard + 1) % len(h.missing) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := h.look(ctx, shard); err != nil && ctx.Err() == nil {
			h.cfg.Log.Warn("could not compare what this worker holds with the records", "worker", h.cfg.ID, "shard", shard, "err", err)
		}
	}
}

// look gives back what is missing for the second time in a row: between a claim and its answer all is missing for a moment.
func (h *Holdings) look(ctx context.Context, shard int) error {
	now := make(map[string]struct{})
	var lost []string
	for cursor, more := "0", true; more; more = cursor != "0" {
		items, next, err := h.cfg.Recorded(ctx, shard, h.cfg.ID, cursor)
		if err != nil {
			return err
		}
		cursor = next
		if len(items) == 0 {
			continue
		}
		held := h.cfg.Held()
		for _, item := range items {
			if _, ok := held[item]; ok || len(now) >= holdingsMost {
				continue
			}
			now[item] = struct{}{}
			if _, again := h.missing[shard][item]; again {
				lost = append(lost, item)
			}
		}
	}
	h.missing[shard] = now
	for len(lost) > 0 {
		n := min(len(lost), reapLimit)
		// Of a death that never was: no beat is so late.
		got, err := h.cfg.Reaper.part(ctx, shard, group.Death{Worker: h.cfg.ID, Beat: 1 << 53}, lost[:n]...)
		if err != nil {
			return err
		}
		h.cfg.Reaper.cfg.Repairs.Repaired(RepairHolding, got.Again)
		h.cfg.Log.Warn("the records named this worker as holder of what it does not know; it is given back", "worker", h.cfg.ID, "given_back", got.Again)
		lost = lost[n:]
	}
	return nil
}
