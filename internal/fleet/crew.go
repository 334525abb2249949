package fleet

import (
	"context"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
)

const (
	crewFresh = 3 * time.Second // what is known of the workers is used without another look
	crewLook  = time.Second     // the longest look at them
)

// Crew knows, without ever waiting for Redis, how many workers take from each queue. It looks at their beats in the background,
// only when it is asked, and at most every three seconds. It is safe for concurrent use.
type Crew struct {
	conn *conn.Conn
	keys keys.Space
	life context.Context //nolint:containedctx // ends its looks

	mu      sync.Mutex
	queues  map[string]carrier.Crew
	at      time.Time
	looking bool
}

// NewCrew returns a Crew that has not looked yet. It looks no more when life ends.
func NewCrew(life context.Context, c *conn.Conn, k keys.Space) *Crew {
	return &Crew{conn: c, keys: k, life: life}
}

// Of returns who takes from a queue, as of the last look: nobody before the first.
func (c *Crew) Of(queue string) carrier.Crew {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.looking && (c.at.IsZero() || time.Since(c.at) > crewFresh) {
		c.looking = true
		go c.look()
	}
	return c.queues[queue]
}

func (c *Crew) look() {
	ctx, stop := context.WithTimeout(c.life, crewLook)
	defer stop()
	peers, err := Peers(ctx, c.conn, c.keys)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looking, c.at = false, time.Now()
	if err != nil {
		return // what was known has to do
	}
	c.queues = make(map[string]carrier.Crew)
	for _, p := range peers {
		if p.Draining {
			continue
		}
		for q := range p.Queues {
			crew := c.queues[q]
			crew.Workers++
			crew.Slots = max(crew.Slots, p.Slots)
			c.queues[q] = crew
		}
	}
}
