// Package carrier is asynq as gatherq uses it: hand-over on one side, the gate that takes deliveries on the other.
//
// asynq only carries. What a delivery means, who holds it and whether it is done is for the record to say; here a message that
// arrives twice, late or for nothing is nobody's concern. Of asynq's client only the commands that it would send are used, so that
// they ride in one pipeline with the record and the bell; of its server everything, over a client (the gate) that holds its
// polling back while there is nothing to do or no slot free.
package carrier

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// TaskType is the type of asynq's task that a delivery travels as.
const TaskType = "gatherq"

// Carrier hands deliveries over and serves them. It is safe for concurrent use.
type Carrier struct {
	conn    *conn.Conn
	keys    keys.Space
	cluster bool

	crew func(queue string) Crew // who takes from a queue

	client    *asynq.Client // over capture; nil where asynq's client does not build what we know
	options   sync.Map      // queue → []asynq.Option
	published sync.Map      // asynq's queue name → *publication
	scripts   sync.Map      // variant → *conn.Script
}

// publication is asynq's own command that makes a queue known to its tools, once per process and queue.
type publication struct {
	args []any
	mu   sync.Mutex
	sent bool // and answered
}

// New returns the carrier of a namespace. It does no I/O. crew says who takes from a queue, at once and by what it knows.
func New(c *conn.Conn, k keys.Space, crew func(queue string) Crew) *Carrier {
	cr := &Carrier{conn: c, keys: k, crew: crew}
	_, cr.cluster = c.Redis().(*redis.ClusterClient)
	cr.client = asynq.NewClientFromRedisClient(&capture{carrier: cr})
	if _, err := cr.build("probe", nil); err != nil {
		cr.client = nil
	}
	return cr
}

// Enqueue hands deliveries over, in one pipeline: first the calls of before, which are the records that the deliveries speak of, then
// the messages, then the bells. Tasks of one queue that leave at the same time, also those of other calls of Enqueue, share
// messages. An error reply to a call of before is in that call alone; an error reply to a message, and anything that conn.Do
// returns, is Enqueue's. A message may go out twice, never not at all with a nil error. In a cluster, where records and queues
// live on different servers, it takes three pipelines. The messages' IDs are noted in hs, for the marks.
func (c *Carrier) Enqueue(ctx context.Context, hs []record.HandOver, before ...*conn.Call) error {
	if c.client == nil {
		return c.enqueuePlainly(ctx, hs, before)
	}
	after := ""
	if !c.cluster {
		after = scriptNames(before)
	}
	messages, err := c.messages(hs, after)
	if err != nil {
		return err
	}
	return c.enqueue(ctx, hs, before, messages, nil)
}

// HandBack enqueues a delivery that nobody claimed again: tasks at the head of its queue, a ticket at the tail. (Tickets whose
// group is never committed come again and again while its staging lives: at the head they would keep out all others.) The records
// know the new message before the old one is acknowledged, so whatever they name is there.
func (c *Carrier) HandBack(ctx context.Context, store *record.Store, h record.HandOver) error {
	hs := []record.HandOver{h}
	if c.client == nil {
		if err := c.enqueuePlainly(ctx, hs, nil); err != nil {
			return err
		}
		return c.conn.Do(ctx, store.HandBackCalls(hs...)...)
	}
	call, err := c.message(h, "")
	if err != nil {
		return err
	}
	messages := []*conn.Call{call}
	if h.Delivery.Ticket == nil {
		head, err := headCall(call)
		if err != nil {
			return err
		}
		messages = append(messages, head)
	}
	hs[0].Message = idOf(call)
	return c.enqueue(ctx, hs, nil, messages, store.HandBackCalls(hs...))
}

// enqueue sends messages, of which the first are those of hs in their order.
func (c *Carrier) enqueue(ctx context.Context, hs []record.HandOver, before, messages, after []*conn.Call) error {
	var news []*conn.Call
	var fresh []*publication
	for _, h := range hs {
		if p := c.unpublished(h.Queue); p != nil && !slices.Contains(fresh, p) {
			fresh, news = append(fresh, p), append(news, conn.NewCommand(p.args...))
		}
	}
	rings := slices.Concat(after, c.rings(hs))
	stages := [][]*conn.Call{slices.Concat(before, news, messages, rings)}
	if c.cluster {
		stages = [][]*conn.Call{before, slices.Concat(news, messages), rings}
	}
	for i, calls := range stages {
		if err := c.conn.Do(ctx, calls...); err != nil {
			return err
		}
		if c.cluster && i == 0 && len(before) > 0 && !slices.ContainsFunc(before, func(b *conn.Call) bool { return b.Err == nil }) {
			return nil // nothing that the messages speak of is there
		}
	}
	for _, call := range messages {
		// 0 instead of 1 is "this ID exists already": our own first try, whose answer was lost.
		if call.Err != nil {
			return fmt.Errorf("enqueue in %s: %w", hs[0].Queue, call.Err)
		}
	}
	for i := range hs {
		hs[i].Message = idOf(messages[i])
	}
	for i, p := range fresh {
		p.settle(news[i].Err == nil)
	}
	switch {
	case !c.cluster && overtook(messages, before):
		// A worker may have dropped the message, since it found no record: another one follows.
		return c.enqueueAgain(ctx, hs)
	case slices.ContainsFunc(messages, func(m *conn.Call) bool { return m.Again }):
		// Its bell rang before it: for nothing, if the worker has looked in between. Unanswered it costs time, nothing else.
		_ = c.conn.Do(ctx, c.rings(hs)...)
	}
	// An error reply to a bell costs the time until the worker looks by itself, nothing else.
	return nil
}

// overtook reports whether a message was executed before a record, which Redis refused for a moment.
func overtook(messages, before []*conn.Call) bool {
	first, last := math.MaxInt, 0
	for _, m := range messages {
		first = min(first, m.Try)
	}
	for _, b := range before {
		last = max(last, b.Try)
	}
	return first < last
}

// enqueueAgain enqueues what is recorded by now, in messages of their own.
func (c *Carrier) enqueueAgain(ctx context.Context, hs []record.HandOver) error {
	messages, err := c.messages(hs, "")
	if err != nil {
		return err
	}
	return c.enqueue(ctx, hs, nil, messages, nil)
}

// HandOver enqueues and then notes in the records that it was done, so that nobody repeats it.
func (c *Carrier) HandOver(ctx context.Context, store *record.Store, hs []record.HandOver) error {
	if len(hs) == 0 {
		return nil
	}
	if err := c.Enqueue(ctx, hs); err != nil {
		return err
	}
	return store.Mark(ctx, hs...)
}

// enqueuePlainly is Enqueue with an asynq that is not the one we know: it sends for itself, after the records.
func (c *Carrier) enqueuePlainly(ctx context.Context, hs []record.HandOver, before []*conn.Call) error {
	if err := c.conn.Do(ctx, before...); err != nil {
		return err
	}
	client := asynq.NewClientFromRedisClient(c.conn.Redis())
	for i, h := range hs {
		info, err := client.EnqueueContext(ctx, asynq.NewTask(TaskType, h.Delivery.Encode()), c.taskOptions(h.Queue)...)
		if err != nil {
			return &conn.Error{Doubt: true, Err: fmt.Errorf("enqueue in %s: %w", h.Queue, err)}
		}
		hs[i].Message = info.ID
	}
	return c.conn.Do(ctx, c.rings(hs)...)
}

// taskOptions are what asynq is told of a message in a queue. Time-out and retries are those of the carrying alone, and never
// to be met: the longest that asynq knows (0 would be its defaults). The ID is asynq's, a fresh UUID.
func (c *Carrier) taskOptions(queue string) []asynq.Option {
	if o, ok := c.options.Load(queue); ok {
		return o.([]asynq.Option) //nolint:forcetypeassert // nothing else is stored
	}
	o := []asynq.Option{asynq.Queue(c.keys.AsynqQueue(queue)), asynq.MaxRetry(math.MaxInt32), asynq.Timeout(10 * 365 * 24 * time.Hour)}
	c.options.Store(queue, o)
	return o
}

// unpublished returns the publication of a queue while Redis has not answered one.
func (c *Carrier) unpublished(queue string) *publication {
	v, ok := c.published.Load(c.keys.AsynqQueue(queue))
	if !ok { // asynq's client tells with the queue's first message
		_, _ = c.build(queue, nil)
		if v, ok = c.published.Load(c.keys.AsynqQueue(queue)); !ok {
			return nil
		}
	}
	p := v.(*publication) //nolint:forcetypeassert // nothing else is stored
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent {
		return nil
	}
	return p
}

func (p *publication) settle(sent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent = p.sent || sent
}

// script returns asynq's script for a pipeline in which it follows others. Redis keeps scripts by their text; were it the same
// text in all pipelines, Redis could know it from elsewhere and not know a script before it, and would then execute a message
// before its record. So each such pipeline has a text of its own, first sent whole, together with all before it.
//
// What follows others is being created, and is refused with them where Redis is full; a message that comes alone is of work that is
// recorded, and is not.
func (c *Carrier) script(src, after string) *conn.Script {
	type variant struct{ src, after string }
	key := variant{src, after}
	if s, ok := c.scripts.Load(key); ok {
		return s.(*conn.Script) //nolint:forcetypeassert // nothing else is stored
	}
	script := conn.NewForeignScript("asynq.enqueue", src)
	if after != "" {
		script = conn.NewForeignScript("asynq.enqueue", src+"\n-- after "+after+"\n").Refusable()
	}
	s, _ := c.scripts.LoadOrStore(key, script)
	return s.(*conn.Script) //nolint:forcetypeassert // nothing else is stored
}

func scriptNames(calls []*conn.Call) string {
	var names []string
	for _, call := range calls {
		if call.Script != nil && !slices.Contains(names, call.Script.Name) {
			names = append(names, call.Script.Name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}
