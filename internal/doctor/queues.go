package doctor

import (
	"context"
	"strconv"
	"strings"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// readQueues reads the deliveries that asynq has for this namespace.
func (l *look) readQueues(ctx context.Context) error {
	list := conn.NewCommand("smembers", queues)
	if err := l.conn.All(ctx, list); err != nil {
		return err
	}
	for _, name := range fields(list.Reply) {
		queue, ours := strings.CutPrefix(name, l.keys.AsynqQueue(""))
		if !ours {
			continue
		}
		if err := l.queue(ctx, l.keys.AsynqPrefix(queue)); err != nil {
			return err
		}
	}
	return nil
}

func (l *look) queue(ctx context.Context, prefix string) error {
	// What is handed out moves from the one to the other: who reads them in this order misses nothing.
	for _, place := range []string{"pending", "active"} {
		for from := 0; ; from += page {
			ids := conn.NewCommand("lrange", prefix+place, from, from+page-1)
			if err := l.conn.All(ctx, ids); err != nil {
				return err
			}
			got := fields(ids.Reply)
			if err := l.messages(ctx, prefix, place, got); err != nil {
				return err
			}
			if len(got) < page {
				break
			}
		}
	}
	leases := conn.NewCommand("zrangebyscore", prefix+"lease", "-inf", l.now.Add(carrier.Lease-late).Unix(), "limit", 0, page)
	if err := l.conn.All(ctx, leases); err != nil {
		return err
	}
	for _, id := range fields(leases.Reply) {
		l.find(DeliveryStray, id, "handed out longer than %s ago, and not acknowledged", late)
	}
	for _, set := range []string{"archived", "retry", "scheduled"} {
		if err := l.each(ctx, "zscan", prefix+set, func(words []string) error {
			for i := 0; i < len(words); i += 2 {
				l.find(DeliveryParked, words[i], "it lies in asynq's set %s", set)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// messages notes what deliveries speak of, and finds those that nobody waits for.
func (l *look) messages(ctx context.Context, prefix, place string, ids []string) error {
	var list []asked
	for _, id := range ids {
		l.deliveries++
		list = append(list, asked{conn.NewCommand("hget", prefix+"t:"+id, "msg"), func(reply any) {
			msg, there := reply.(string)
			d, ours := carrier.Message([]byte(msg))
			switch {
			case !there:
				l.find(DeliveryBroken, id, "asynq lists it as %s and has no message of it", place)
			case !ours:
				l.find(DeliveryBroken, id, "it is not gatherq's")
			default:
				l.delivery(id, d)
			}
		}})
	}
	if err := l.ask(ctx, list); err != nil {
		return err
	}
	return l.judge(ctx)
}

// waiting is a delivery that was read and whose records were not.
type waiting struct {
	id string
	d  record.Delivery
}

func (l *look) delivery(id string, d record.Delivery) {
	for _, ref := range d.Refs {
		l.waits[ref] = true
	}
	if d.Ticket != nil {
		l.tickets[*d.Ticket] = true
	}
	l.unjudged = append(l.unjudged, waiting{id, d})
}

// judge looks whether anything waits for the deliveries that were read. One of which a task has ended is in order: it was cancelled,
// or overdue, in the queue, and the worker that takes it drops it. So is one that a task is claimed under: it is about to be
// acknowledged, or a stray.
func (l *look) judge(ctx context.Context) error {
	var list []asked
	for _, w := range l.unjudged {
		left := len(w.d.Refs)
		for _, ref := range w.d.Refs {
			list = append(list, asked{conn.NewCommand("hmget", l.keys.Record(ref.ID), "s", "n"), func(reply any) {
				f := fields(reply)
				if f[0] == "" || f[1] != strconv.FormatInt(ref.Number, 10) && !record.State(f[0]).Final() {
					left--
				}
				if left == 0 {
					l.find(DeliveryStale, w.id, "nothing waits for it: say %s, delivery %d", ref.ID, ref.Number)
				}
			}})
		}
		if t := w.d.Ticket; t != nil {
			var group []string
			list = append(list,
				asked{conn.NewCommand("hmget", l.keys.Record(t.Group), "no", "bs", "t"+strconv.Itoa(t.Place)), func(reply any) { group = fields(reply) }},
				asked{conn.NewCommand("exists", l.keys.Args(t.Group, t.Nonce, 0)), func(reply any) {
					current := group[0] == t.Nonce && (group[1] != "" || strings.HasPrefix(group[2], strconv.FormatInt(t.Number, 10)+";"))
					if !current && (group[0] != "" || reply != int64(1)) {
						l.find(DeliveryStale, w.id, "nothing waits for it: ticket %d of group %s, delivery %d", t.Place, t.Group, t.Number)
					}
				}})
		}
	}
	l.unjudged = nil
	return l.ask(ctx, list)
}
