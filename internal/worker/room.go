package worker

import (
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// arrivals is when a delivery came last out of each queue.
type arrivals struct {
	mu sync.Mutex
	at map[string]time.Time
}

// note says that one has come.
func (a *arrivals) note(queue string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = make(map[string]time.Time)
	}
	a.at[queue] = time.Now()
}

// since returns for how long none has come; false if none ever did.
func (a *arrivals) since(queue string) (time.Duration, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.at[queue]
	return time.Since(at), ok
}

// goOn takes those up that had waited until fewer of their group run: what was told here has made room for them. What this worker has a
// free slot for it begins at once, the others go through their queue. So does everything once no delivery has come out of that queue for
// holdLast: it may be paused. Should this worker die over it, they are delivered again like any hand-over that nobody marked.
func (w *Worker) goOn(hs []record.HandOver) {
	var rest []record.HandOver
	for _, h := range hs {
		if silent, ok := w.arrivals.since(h.Queue); !ok || silent > holdLast || !w.begin(h) {
			rest = append(rest, h)
		}
	}
	w.handOver(rest...)
}

// begin works on a delivery that has not been through its queue; false if no slot is free, or nothing may begin any more.
func (w *Worker) begin(h record.HandOver) bool {
	if !w.enter() {
		return false
	}
	if !w.cfg.Slots.TryAcquire() {
		w.wg.Done()
		return false
	}
	if h.Delivery.Ticket != nil {
		w.startPump(h.Queue, *h.Delivery.Ticket) // that it is not claimed is no loss: nobody has marked it
		return true
	}
	go func() {
		defer w.wg.Done()
		_ = w.deliverTasks(h.Queue, h.Delivery.Refs) // nor is this
	}()
	return true
}
