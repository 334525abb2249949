package carrier

import (
	"fmt"
	"strings"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// Crew is who lives to take from a queue.
type Crew struct {
	Workers int // none: nobody, or nobody knows
	Slots   int // of the one that has most
}

// soloShare is how many tasks a delivery carries at most for workers that are not there yet: the first that comes may be small.
const soloShare = 16

// share is what deliveries of tasks that leave together become: as few messages as there are workers for, of references only, at
// most record.MaxRefs in one, and no more than one worker has slots. It is a joint of conn's.
type share struct {
	carrier *Carrier
	queue   string
	after   string // see Carrier.script
}

// Limit spreads the tasks over the workers.
func (s share) Limit(total int) int {
	crew := s.carrier.crew(s.queue)
	if crew.Workers == 0 {
		return soloShare
	}
	each := (total + crew.Workers - 1) / crew.Workers
	return max(min(each, crew.Slots, record.MaxRefs), 1)
}

// Join makes asynq's message of several deliveries.
func (s share) Join(items []any) (*conn.Call, error) {
	d := items[0].(record.Delivery) //nolint:forcetypeassert // nothing else is put into a share
	if len(items) > 1 {
		d = record.Delivery{}
		for _, item := range items {
			d.Refs = append(d.Refs, item.(record.Delivery).Refs...) //nolint:forcetypeassert // nothing else is put into a share
		}
	}
	return s.carrier.message(record.HandOver{Queue: s.queue, Delivery: d}, s.after)
}

// message returns the call of one message.
func (c *Carrier) message(h record.HandOver, after string) (*conn.Call, error) {
	m, err := c.build(h.Queue, h.Delivery.Encode())
	if err != nil {
		return nil, fmt.Errorf("queue %s: %w", h.Queue, err)
	}
	return &conn.Call{Script: c.script(m.src, after), Keys: m.keys, Args: m.args}, nil
}

// shares reports whether a hand-over may travel with others: of tasks, but for suspects and what goes to the head of its queue.
func shares(h record.HandOver) bool { return h.Delivery.Ticket == nil && !h.Alone && !h.First }

// messages returns the calls of the hand-overs: tasks share messages, a ticket, a suspect and the first of its queue travel alone.
func (c *Carrier) messages(hs []record.HandOver, after string) (calls []*conn.Call, err error) {
	calls = make([]*conn.Call, 0, len(hs))
	for _, h := range hs {
		if shares(h) {
			calls = append(calls, &conn.Call{Joint: share{c, h.Queue, after}, Item: h.Delivery, Weight: len(h.Delivery.Refs)})
			continue
		}
		call, err := c.message(h, after)
		if err != nil {
			return nil, err
		}
		calls = append(calls, call)
		if h.First {
			head, err := headCall(call)
			if err != nil {
				return nil, err
			}
			calls = append(calls, head)
		}
	}
	return calls, nil
}

// ring is the bell of a queue, rung once for each worker that is to wake. It is a joint of conn's.
type ring struct {
	carrier *Carrier
	queue   string
}

// Limit is none: there is one bell.
func (ring) Limit(total int) int { return total }

// Join rings for all of them. Tasks that share a delivery need one worker.
func (r ring) Join(items []any) (*conn.Call, error) {
	tasks, messages := 0, 0
	for _, item := range items {
		n := item.(rung) //nolint:forcetypeassert // nothing else is put into a ring
		tasks += n.tasks
		messages += n.messages
	}
	switch {
	case tasks == 1:
		messages++
	case tasks > 1:
		limit := share{carrier: r.carrier, queue: r.queue}.Limit(tasks)
		messages += (tasks + limit - 1) / limit
	}
	k := r.carrier.keys
	return &conn.Call{
		Script: ringScript, Keys: []string{k.Parked(r.queue), k.Bell(r.queue)},
		Args: []any{min(messages, bellLength), bellLength, bellTTL.Milliseconds()},
	}, nil
}

// rung is what a bell is rung for: tasks, which may share deliveries, and deliveries that are shared with none.
type rung struct{ tasks, messages int }

// rings returns one call per queue.
func (c *Carrier) rings(hs []record.HandOver) []*conn.Call {
	var order []string
	count := make(map[string]rung, 1)
	for _, h := range hs {
		n, seen := count[h.Queue]
		if !seen {
			order = append(order, h.Queue)
		}
		if shares(h) {
			n.tasks += len(h.Delivery.Refs)
		} else {
			n.messages++
		}
		count[h.Queue] = n
	}
	calls := make([]*conn.Call, len(order))
	for i, q := range order {
		calls[i] = &conn.Call{Joint: ring{c, q}, Item: count[q]}
	}
	return calls
}

// taskKey is what stands before the ID in the key of asynq's message.
const taskKey = "}:t:"

// idOf returns the ID of a message, "" where asynq's client does not put it into the first key.
func idOf(message *conn.Call) string {
	if message.Joined != nil {
		message = message.Joined
	}
	if len(message.Keys) == 0 {
		return ""
	}
	_, id, _ := strings.Cut(message.Keys[0], taskKey)
	return id
}

// headCall returns the call that moves a message, which was just enqueued, to the head of its queue.
func headCall(message *conn.Call) (*conn.Call, error) {
	id := idOf(message)
	if len(message.Keys) < 2 || id == "" {
		return nil, errShape
	}
	return &conn.Call{Script: headScript, Keys: message.Keys[1:2], Args: []any{id}}, nil
}
