package carrier

import (
	"context"
	_ "embed"
	"fmt"
	"strconv"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// Lease is asynq's: what it hands out must be acknowledged or renewed within it. It stands in the lease set as the time of
// its end, by the clock of the worker that took the message.
const Lease = 30 * time.Second

// strayLimit is how many messages one look takes.
const strayLimit = 100

//go:embed lua/stray.lua
var straySrc string

var strayScript = conn.NewForeignScript("carrier.stray", straySrc)

// Strays looks for messages of a queue that asynq handed out and nobody acknowledged for longer than age: the answer to the
// dequeue was lost on its way, and a dequeue is never repeated. What its record still waits for goes back to the head of the
// queue, nothing charged; anything else is removed. Asynq itself would take minutes. Messages that are not ours are left alone.
// Two callers do no harm, nor does one that is wrong about a slow worker: the second claim is refused.
func (c *Carrier) Strays(ctx context.Context, queue string, age time.Duration, current func(context.Context, record.Delivery) (bool, error)) (back, removed int, err error) {
	prefix := asynqPrefix(c.keys.AsynqQueue(queue))
	before := StrayBefore(age)
	late := conn.NewCommand("zrangebyscore", prefix+"lease", "-inf", strconv.FormatInt(before, 10), "limit", 0, strayLimit)
	if err := c.conn.All(ctx, late); err != nil {
		return 0, 0, fmt.Errorf("queue %s: %w", queue, err)
	}
	ids, _ := late.Reply.([]any)
	for _, v := range ids {
		id, _ := v.(string)
		get := conn.NewCommand("hget", prefix+"t:"+id, "msg")
		if err := c.conn.All(ctx, get); err != nil {
			return back, removed, fmt.Errorf("queue %s: %w", queue, err)
		}
		msg, _ := get.Reply.(string)
		d, ours := Message([]byte(msg))
		if !ours && msg != "" {
			continue
		}
		keep := false
		if ours {
			if keep, err = current(ctx, d); err != nil {
				return back, removed, err
			}
		}
		put := strayCall(prefix, id, keep)
		if err := c.conn.All(ctx, put); err != nil {
			return back, removed, fmt.Errorf("queue %s: %w", queue, err)
		}
		if n, _ := put.Reply.(int64); n == 0 {
			continue // acknowledged meanwhile
		}
		if keep {
			back++
		} else {
			removed++
		}
	}
	if back > 0 {
		_ = c.conn.Do(ctx, c.rings([]record.HandOver{{Queue: queue}})...) // unanswered it costs time, nothing else
	}
	return back, removed, nil
}

// strayCall returns the call that takes a message out of the active ones of the queue with that prefix: back to the head, or away.
func strayCall(prefix, id string, back bool) *conn.Call {
	put := &conn.Call{Script: strayScript, Keys: []string{prefix + "active", prefix + "lease", prefix + "pending", prefix + "t:" + id}, Args: []any{id, 0}}
	if back {
		put.Args[1] = 1
	}
	return put
}

// Message reads our delivery out of asynq's message; false for another's.
func Message(msg []byte) (record.Delivery, bool) {
	var typ string
	var payload []byte
	if !fields(msg, func(number uint64, data []byte) bool {
		switch number {
		case 1:
			typ = string(data)
		case 2:
			payload = data
		}
		return true
	}) || typ != TaskType {
		return record.Delivery{}, false
	}
	d, err := record.DecodeDelivery(payload)
	return d, err == nil
}
