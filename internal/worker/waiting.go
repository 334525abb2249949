package worker

import (
	"sync"
	"time"
)

// waitingCache spares the pumps of a queue asking the same thing one after the other.
type waitingCache struct {
	mu     sync.Mutex
	queues map[string]waitingAnswer
}

type waitingAnswer struct {
	at                  time.Time
	deliveries, workers int
}

// ask returns how many deliveries wait in the queue for a worker, and how many other workers for deliveries: these are the caller's, who
// asks next soon is told of none.
func (c *waitingCache) ask(w *Worker, queue string) (deliveries, workers int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a, ok := c.queues[queue]; ok && time.Since(a.at) < holdFirst {
		c.queues[queue] = waitingAnswer{at: a.at, deliveries: a.deliveries}
		return a.deliveries, a.workers
	}
	deliveries, workers, err := w.cfg.Carrier.Waiting(w.pull, queue)
	if err != nil {
		w.cfg.Log.Debug("could not see whether others wait", "queue", queue, "err", err)
	}
	if c.queues == nil {
		c.queues = make(map[string]waitingAnswer)
	}
	c.queues[queue] = waitingAnswer{at: time.Now(), deliveries: deliveries}
	return deliveries, workers
}
