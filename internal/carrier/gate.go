package carrier

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
)

const (
	// blindPace is how often the queues are looked at when asynq's dequeue is not recognised, so that nothing holds it back.
	blindPace = 50 * time.Millisecond

	// Pauses after failed dequeues grow between these; asynq itself would ask again without any.
	firstPause = 10 * time.Millisecond
	lastPause  = time.Second

	// lastWords is how long a command may go on without an answer once the server drains.
	lastWords = 2 * time.Second

	// startsWithin is how long a handler may take to start after its dequeue: asynq notes each in a loop that also talks to Redis.
	startsWithin = 10 * time.Second
)

var errGivenUp = errors.New("redis did not answer while the server drained")

// gate is the Redis client that our asynq.Server is given. It lets everything pass but the dequeue: before that it takes a slot,
// and while there is nothing to take it parks, so that asynq asks when there is something and not all the time.
//
// asynq's processor is one goroutine and the only caller of a dequeue: what is said to belong to it needs no lock.
type gate struct {
	redis.UniversalClient
	conn    *conn.Conn
	deaf    *redis.Client
	slots   Slots
	keys    keys.Space
	cluster bool
	names   map[string]string // asynq's name of each queue → ours
	queues  []string          // ours, heaviest first
	own     string            // this gate's own bell, and its name among the parked
	bells   redis.UniversalClient
	wait    time.Duration // at the bells, at a time
	tended  bool          // somebody else looks each second

	recognise func(keys []string) (queue string, ok bool) // a dequeue by its keys
	scripts   sync.Map                                    // SHA-1 of a script of asynq's → our copy

	ctx  context.Context // ends when the server drains
	stop context.CancelFunc

	parked     atomic.Bool   // perhaps blocked on the bells
	waitings   atomic.Int64  // names of its waitings used up, see heard
	lent       atomic.Bool   // others use the slot that waits
	full       atomic.Bool   // its name says so
	retelling  sync.Mutex    // held by who changes that
	recognised atomic.Bool   // a dequeue, ever
	failures   atomic.Int64  // dequeues in a row that failed
	failed     atomic.Uint64 // all of them

	// Of the processor:
	asks    map[string]ask // the last dequeue of each queue
	empty   int            // dequeues in a row that got nothing
	burst   int            // messages to ask for at a time
	ready   []*once        // messages that asynq has not asked for yet
	knows   bool           // Redis seems to know parkScript
	drained bool           // the last answer says that there is nothing more: it came by a ring, or parking ended without one

	mu    sync.Mutex
	aside []time.Time // slots of handlers that have not started, since when
	tidy  *time.Timer // set while there may be such
}

// ask is a dequeue as asynq sends it.
type ask struct {
	keys []string
	args []any // the whole command
}

func newGate(c *conn.Conn, k keys.Space, slots Slots, queues map[string]int, tended bool) *gate {
	g := &gate{
		UniversalClient: c.Redis(),
		conn:            c,
		deaf:            deaf(),
		slots:           slots,
		keys:            k,
		names:           make(map[string]string, len(queues)),
		// No queue's name begins with a tilde.
		own:    k.Bell("~" + uuid.NewString()),
		tended: tended,
		asks:   make(map[string]ask, len(queues)),
	}
	g.bells, g.wait = atBells(c.Redis(), tended)
	_, g.cluster = c.Redis().(*redis.ClusterClient)
	for q := range queues {
		g.names[k.AsynqQueue(q)] = q
		g.queues = append(g.queues, q)
	}
	slices.SortFunc(g.queues, func(a, b string) int {
		return cmp.Or(queues[b]-queues[a], strings.Compare(a, b))
	})
	g.recognise = g.dequeueOf
	g.ctx, g.stop = context.WithCancel(context.Background())
	slots.OnLoan(g.loan)
	return g
}

// dequeueOf recognises asynq's dequeue of one of our queues: four keys, the pending list first.
func (g *gate) dequeueOf(keys []string) (queue string, ok bool) {
	if len(keys) != 4 {
		return "", false
	}
	name, ok := strings.CutSuffix(keys[0], "}:pending")
	if !ok {
		return "", false
	}
	_, name, ok = strings.Cut(name, "{")
	if !ok {
		return "", false
	}
	queue, ok = g.names[name]
	return queue, ok
}

// EvalSha holds a dequeue back until there is something to take; other scripts pass. What Redis is sent are our copies of asynq's
// scripts, which run where its memory is full; of a script that was not seen yet asynq is asked for the text.
func (g *gate) EvalSha(ctx context.Context, sha1 string, keys []string, args ...any) *redis.Cmd {
	v, ok := g.scripts.Load(sha1)
	if !ok {
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(noScript{})
		return cmd
	}
	s := v.(*conn.Script) //nolint:forcetypeassert // nothing else is stored
	if queue, ok := g.recognise(keys); ok {
		return g.dequeue(ctx, queue, newAsk("evalsha", s.SHA(), keys, args))
	}
	return g.pass(ctx, &conn.Call{Script: s, Keys: keys, Args: args})
}

// Eval is EvalSha for a script that Redis does not have yet.
func (g *gate) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	s := conn.NewForeignScript("asynq", script)
	g.scripts.Store(s.Refusable().SHA(), s)
	if queue, ok := g.recognise(keys); ok {
		return g.dequeue(ctx, queue, newAsk("eval", s.Src, keys, args))
	}
	return g.pass(ctx, &conn.Call{Script: s, Keys: keys, Args: args})
}

// ZAdd passes, also where Redis' memory is full.
func (g *gate) ZAdd(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	return g.zadd(ctx, key, nil, members)
}

// ZAddXX passes, also where Redis' memory is full.
func (g *gate) ZAddXX(ctx context.Context, key string, members ...redis.Z) *redis.IntCmd {
	return g.zadd(ctx, key, []any{"XX"}, members)
}

func (g *gate) zadd(ctx context.Context, key string, args []any, members []redis.Z) *redis.IntCmd {
	for _, m := range members {
		args = append(args, m.Score, m.Member)
	}
	return number(ctx, g.pass(ctx, &conn.Call{Script: zaddScript, Keys: []string{key}, Args: args}))
}

// ZRem passes.
func (g *gate) ZRem(ctx context.Context, key string, members ...any) *redis.IntCmd {
	return number(ctx, g.pass(ctx, conn.NewCommand(append([]any{"zrem", key}, members...)...)))
}

// number is an answer as a number.
func number(ctx context.Context, cmd *redis.Cmd) *redis.IntCmd {
	out := redis.NewIntCmd(ctx)
	n, err := cmd.Int64()
	out.SetVal(n)
	if err != nil {
		out.SetErr(err)
	}
	return out
}

// answer waits for the end of send; it is false when Redis does not answer while the server drains. Then nobody may touch what send
// works on.
func answer(g *gate, send func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		send()
	}()
	select {
	case <-done:
		return true
	case <-g.ctx.Done():
	}
	t := time.NewTimer(lastWords)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// Subscribe is a subscription that hears nothing.
func (g *gate) Subscribe(ctx context.Context, channels ...string) *redis.PubSub {
	return g.deaf.Subscribe(ctx, channels...)
}

func newAsk(command, script string, keys []string, args []any) ask {
	a := ask{keys: keys, args: make([]any, 0, 3+len(keys)+len(args))}
	a.args = append(a.args, command, script, len(keys))
	for _, k := range keys {
		a.args = append(a.args, k)
	}
	a.args = append(a.args, args...)
	return a
}

// pass sends what is no dequeue the way that all of ours goes: what Redis refuses for the moment is asked again (decision 19). None of
// these calls has a context that ends, and asynq's end is a row of them, so the drain's end is theirs.
//
// It slows down what may be a dequeue that was not recognised: of asynq's scripts only that one answers nothing.
func (g *gate) pass(ctx context.Context, call *conn.Call) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	if !answer(g, func() { _ = g.conn.Do(ctx, call) }) {
		cmd.SetErr(errGivenUp)
		return cmd
	}
	switch {
	case call.Err != nil && call.Again && strings.HasPrefix(call.Err.Error(), "NOT FOUND"):
		cmd.SetVal("OK") // the first time it was there, and the answer was lost
	case call.Err != nil:
		cmd.SetErr(call.Err)
	case call.Reply == nil:
		cmd.SetErr(redis.Nil)
		if !g.recognised.Load() {
			g.pause(blindPace)
		}
	default:
		cmd.SetVal(call.Reply)
	}
	return cmd
}

// dequeue answers asynq's dequeue of one queue. A hit has its slot set aside for the handler; with any other answer the gate
// holds none.
func (g *gate) dequeue(ctx context.Context, queue string, a ask) *redis.Cmd {
	g.recognised.Store(true)
	nothing := func() *redis.Cmd {
		cmd := redis.NewCmd(ctx)
		cmd.SetErr(redis.Nil)
		return cmd
	}
	if g.ctx.Err() != nil {
		return nothing()
	}
	if cmd := g.next(); cmd != nil {
		return cmd.Cmd
	}
	if g.slots.Acquire(g.ctx) != nil {
		return nothing()
	}
	g.asks[queue] = a
	known := len(g.asks) == len(g.names)
	var cmd *once
	if g.drained && known {
		cmd = g.park(ctx) // which looks for itself
	} else if cmd = g.ask(ctx, a); errors.Is(cmd.Err(), redis.Nil) {
		if g.empty++; g.empty >= len(g.names) && known {
			g.empty = 0
			cmd = g.park(ctx)
		}
	}
	if cmd != nil && cmd.Err() == nil {
		g.empty = 0
		g.failures.Store(0)
		g.setAside(cmd.Val())
		return cmd.Cmd
	}
	g.slots.Release()
	switch {
	case cmd == nil:
		return nothing()
	case errors.Is(cmd.Err(), redis.Nil):
		g.failures.Store(0)
	case redis.HasErrorPrefix(cmd.Err(), "NOSCRIPT"): // asynq asks again, with the text
	default:
		g.failed.Add(1)
		g.empty, g.drained = 0, false
		g.pause(firstPause + rand.N(min(firstPause<<min(g.failures.Add(1), 10), lastPause)))
	}
	return cmd.Cmd
}

// send asks once.
func (g *gate) send(ctx context.Context, cmd *once) *once {
	if !answer(g, func() { g.answered(g.Process(ctx, cmd)) }) {
		return failed(ctx, errGivenUp)
	}
	return cmd
}

// pause waits unless the server drains.
func (g *gate) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-g.ctx.Done():
	}
}

// answered tells the connection whether Redis answered.
func (g *gate) answered(err error) {
	var reply redis.Error
	switch {
	case err == nil || errors.As(err, &reply) && !conn.Passing(err):
		g.conn.Answered()
	default:
		g.conn.Failed(err)
	}
}

// setAside keeps the slot for the handler that asynq is about to start for a message, or releases it where none will come.
func (g *gate) setAside(reply any) {
	text, _ := reply.(string)
	if _, ok := messageID([]byte(text)); !ok {
		g.slots.Release()
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.aside = append(g.aside, time.Now())
	if g.tidy == nil {
		g.tidy = time.AfterFunc(startsWithin, g.tidyUp)
	}
}

// take takes over a slot that was set aside, one for each handler. There is none where asynq reads messages that we cannot, or
// dequeued past the gate.
func (g *gate) take() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.aside) == 0 {
		return false
	}
	g.aside = g.aside[1:]
	return true
}

// tidyUp gives back slots that were set aside for too long: asynq could not read what we could. Should a handler come after all,
// it waits for a slot of its own.
func (g *gate) tidyUp() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	for len(g.aside) > 0 && now.Sub(g.aside[0]) >= startsWithin {
		g.aside = g.aside[1:]
		g.slots.Release()
	}
	g.tidy = nil
	if len(g.aside) > 0 {
		g.tidy = time.AfterFunc(g.aside[0].Add(startsWithin).Sub(now), g.tidyUp)
	}
}

// close gives back what asynq left: messages that it did not ask for, and slots of handlers that never started. Only for after
// asynq's end.
func (g *gate) close() {
	g.putBack()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.tidy != nil {
		g.tidy.Stop()
	}
	for range g.aside {
		g.slots.Release()
	}
	g.aside = nil
	_ = g.deaf.Close() // nothing can fail there
}
