package carrier

import (
	"context"
	"fmt"
	"strings"

	"github.com/gatherq/gatherq/internal/conn"
)

// Waiting reports whether anybody waits in a queue: a delivery for a worker, or a worker other than this one for a
// delivery. Who holds a ticket asks whether to let others have it.
func (s *Server) Waiting(ctx context.Context, queue string) (bool, error) {
	g := s.gate
	pending := conn.NewCommand("llen", asynqPrefix(g.keys.AsynqQueue(queue))+"pending")
	parked := conn.NewCommand("zrange", g.keys.Parked(queue), 0, 15) // some names may be this worker's, of earlier waitings
	if err := g.conn.All(ctx, pending, parked); err != nil {
		return false, fmt.Errorf("queue %s: %w", queue, err)
	}
	if n, _ := pending.Reply.(int64); n > 0 {
		return true, nil
	}
	who, _ := parked.Reply.([]any)
	for _, w := range who {
		if name, ok := w.(string); ok && !strings.HasPrefix(name, g.own) {
			return true, nil
		}
	}
	return false, nil
}
