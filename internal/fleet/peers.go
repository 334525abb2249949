package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
)

// Alive is how long after its last beat a worker is counted among those that serve.
const Alive = time.Minute

// Peer is what a worker's beat says of it.
type Peer struct {
	ID             string
	Beat           int64
	Host           string
	PID            int
	Queues         map[string]int
	Types          []string
	Slots, Running int
	Draining       bool
}

// Peers reads the beats of all workers that beat in the last minute.
func Peers(ctx context.Context, c *conn.Conn, k keys.Space) ([]Peer, error) {
	now, list := conn.NewCommand("time"), conn.NewCommand("zrange", k.Workers(), 0, -1)
	if err := c.All(ctx, now, list); err != nil {
		return nil, err
	}
	there, err := redisTime(now.Reply)
	if err != nil {
		return nil, err
	}
	ids, _ := list.Reply.([]any)
	calls := make([]*conn.Call, len(ids))
	for i, id := range ids {
		calls[i] = conn.NewCommand("hmget", k.Worker(fmt.Sprint(id)), "n", "host", "pid", "queues", "types", "slots", "running", "draining", "at")
	}
	if err := c.All(ctx, calls...); err != nil {
		return nil, err
	}
	var peers []Peer
	for i, call := range calls {
		f, _ := call.Reply.([]any)
		if len(f) != 9 || f[0] == nil || f[3] == nil {
			continue // gone meanwhile
		}
		text := func(i int) string { s, _ := f[i].(string); return s }
		number := func(i int) int64 { n, _ := strconv.ParseInt(text(i), 10, 64); return n }
		if there.Sub(time.UnixMilli(number(8))) > Alive {
			continue
		}
		p := Peer{
			ID: fmt.Sprint(ids[i]), Beat: number(0), Host: text(1), PID: int(number(2)),
			Slots: int(number(5)), Running: int(number(6)), Draining: text(7) == "1",
		}
		if err := errors.Join(json.Unmarshal([]byte(text(3)), &p.Queues), json.Unmarshal([]byte(text(4)), &p.Types)); err != nil {
			return nil, fmt.Errorf("beat of worker %s: %w", p.ID, err)
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// Known reports whether a worker of the queue that lives has a handler for the type.
func Known(ctx context.Context, c *conn.Conn, k keys.Space, queue, typ string) (bool, error) {
	peers, err := Peers(ctx, c, k)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(peers, func(p Peer) bool {
		return !p.Draining && p.Queues[queue] > 0 && slices.Contains(p.Types, typ)
	}), nil
}
