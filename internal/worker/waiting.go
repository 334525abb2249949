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
	at  time.Time
	yes bool
}

// ask reports whether anybody waits in the queue: deliveries for a worker, or workers for deliveries.
func (c *waitingCache) ask(w *Worker, queue string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a, ok := c.queues[queue]; ok && time.Since(a.at) < holdFirst {
		return a.yes
	}
	yes, err := w.cfg.Carrier.Waiting(w.pull, queue)
	if err != nil {
		w.cfg.Log.Debug("could not see whether others wait", "queue", queue, "err", err)
	}
	if c.queues == nil {
		c.queues = make(map[string]waitingAnswer)
	}
	c.queues[queue] = waitingAnswer{at: time.Now(), yes: yes}
	return yes
}
