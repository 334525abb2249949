package jobs

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Marks of a creation's hand-overs are not urgent, they only keep a worker from handing over once more after two seconds
// (decision 7). So they go out in batches.
const (
	markDelay = 500 * time.Millisecond
	markBatch = 1000
	markLimit = 2 * time.Second // of one batch's trip; after it a claim marks, or a second delivery is dropped as stale
)

// marker collects hand-overs that were enqueued and marks them in batches. It has no goroutine while there is nothing to do.
type marker struct {
	mark func(context.Context, ...record.HandOver) error
	log  *slog.Logger

	mu      sync.Mutex
	waiting []record.HandOver
	timer   *time.Timer // set while something waits
	closed  bool
	trips   sync.WaitGroup
}

// add notes hand-overs that are in the queue by now. It does not block.
func (m *marker) add(hs ...record.HandOver) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || len(hs) == 0 {
		return
	}
	m.waiting = append(m.waiting, hs...)
	switch {
	case len(m.waiting) >= markBatch:
		m.leave()
	case m.timer == nil:
		m.timer = time.AfterFunc(markDelay, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.leave()
		})
	}
}

// leave sends what waits; the caller holds the lock.
func (m *marker) leave() {
	if m.timer != nil {
		m.timer.Stop()
		m.timer = nil
	}
	batch := m.waiting
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
