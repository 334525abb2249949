package jobs

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Marks of a creation's hand-overs are not urgent, they only keep a worker from handing over once more after two seconds
// (decision 7). So they go out in batches.
const (
	markDelay = 500 * time.Millisecond
	markMost  = 20000           // that wait; then they go out at once
	markLimit = 2 * time.Second // of one batch's trip; after it a claim marks, or a second delivery is dropped as stale
)

// marker collects hand-overs that were enqueued and marks them in batches. It has no goroutine while there is nothing to do.
type marker struct {
	mark func(context.Context, ...record.HandOver) error
	log  *slog.Logger

	mu      sync.Mutex
	waiting map[string]record.HandOver // by the task's ID
	timer   *time.Timer                // set while something waits
	closed  bool
	trips   sync.WaitGroup
}

// add notes hand-overs, of one task each, that are in the queue by now. It does not block.
func (m *marker) add(hs ...record.HandOver) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(hs) == 0 {
		return
	}
	if m.waiting == nil {
		m.waiting = make(map[string]record.HandOver, len(hs))
	}
	for _, h := range hs {
		m.waiting[h.Delivery.Refs[0].ID] = h
	}
	switch {
	case len(m.waiting) >= markMost:
		m.leave()
	case m.timer == nil:
		m.timer = time.AfterFunc(markDelay, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.leave()
		})
	}
}

// ended forgets a task: what has ended needs no mark.
func (m *marker) ended(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiting, id)
}

// leave sends what waits; the caller holds the lock.
func (m *marker) leave() {
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
	batch := slices.Collect(maps.Values(m.waiting))
	m.waiting = nil
	if len(batch) == 0 {
		return
	}
	m.trips.Go(func() {
		ctx, stop := context.WithTimeout(context.Background(), markLimit)
		defer stop()
		if err := m.mark(ctx, batch...); err != nil {
			m.log.Debug("marks were lost; the deliveries may come twice and one is dropped", "count", len(batch), "err", err)
		}
	})
}

// close sends what waits and returns when nothing is under way.
func (m *marker) close() {
	m.mu.Lock()
	m.closed = true
	m.leave()
	m.mu.Unlock()
	m.trips.Wait()
}
