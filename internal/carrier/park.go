package carrier

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
)

const (
	// parkLimit is how long asynq is kept waiting for an answer: it counts its lease of 30 s from before the question.
	parkLimit = 10 * time.Second

	// longestWait is how long one wait at the bells lasts where nobody else looks. What is enqueued without a ring, by asynq's own
	// tools say, is seen at its end, so that it starts within a second.
	longestWait = 900 * time.Millisecond

	// tendedWait is how long it lasts where the worker's beat looks (Server.Look). Its end is for a connection that died unheard.
	tendedWait = 5 * time.Second

	shortestWait = 10 * time.Millisecond // 0 would be for ever
)

// atBells returns the client to wait at the bells with, and how long one wait lasts. Pipelines are read with a client's read
// time-out, which is the caller's: for a longer wait it takes a copy of the client over the same pool, which go-redis makes without
// the caller's hooks.
//
// A Redis inside this process that no other can reach gets only what we enqueue ourselves, with a ring: there the wait is as
// long as any, so that days pass quickly in a test with virtual time.
func atBells(rdb redis.UniversalClient, tended bool) (redis.UniversalClient, time.Duration) {
	limit := longestWait
	var timeout time.Duration
	switch c := rdb.(type) {
	case *redis.Client:
		timeout = c.Options().ReadTimeout
		switch {
		case c.Options().Network == "pipe":
			limit = parkLimit
		case tended && timeout > 0:
			return c.WithTimeout(tendedWait + timeout), tendedWait
		case tended:
			return c, tendedWait
		}
	case *redis.ClusterClient: // no script sees all queues there, so nobody tends them
		timeout = c.Options().ReadTimeout
	}
	if timeout <= 0 { // none, or unknown
		return rdb, limit
	}
	return rdb, max(min(limit, timeout*2/3), shortestWait)
}

// park waits for something in any of the queues and takes it. The answer is a dequeue that got something or failed, or nil:
// it waited long enough, was woken, or the server drains. The slot stays taken meanwhile, so that a dequeue can wait in Redis
// behind the bell.
func (g *gate) park(ctx context.Context) *once {
	told := "" // the name that is told at the bells
	for until := time.Now().Add(parkLimit); ; {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		g.parked.Store(true)
		if g.ctx.Err() != nil { // looked at after parked was set: wake looks the other way round
			g.parked.Store(false)
			return nil
		}
		name := g.waiting()
		rang, cmd := g.listen(ctx, max(min(g.wait, left), shortestWait), told != name || !g.tended)
		if g.knows {
			told = name
		}
		g.parked.Store(false)
		if cmd == nil && rang != "" && rang != g.own { // several queues: take from the one that rang
			cmd = g.ask(ctx, g.asks[rang])
		}
		if cmd != nil && !errors.Is(cmd.Err(), redis.Nil) {
			return cmd
		}
		if rang == g.own {
			return nil
		}
	}
}

// listen waits once at the bells of all queues, after it told its names there if it shall. It returns the queue that rang, "" for
// none, or the gate's own bell where that rang for no queue; and a dequeue that went along, or failed in place of one.
func (g *gate) listen(ctx context.Context, d time.Duration, tell bool) (rang string, cmd *once) {
	args := []any{"blpop", g.own} // first: what it says is for nobody else
	for _, q := range g.queues {
		args = append(args, g.keys.Bell(q))
	}
	args = append(args, strconv.FormatFloat(d.Seconds(), 'f', 3, 64))
	park, blpop := g.parkCommand(ctx), newOnce(ctx, args...)

	if g.cluster {
		if err := g.exec(ctx, park); err != nil {
			return "", failed(ctx, err)
		}
		// Registered first, then looked: what comes later rings.
		if q, err := g.pending(ctx); q != "" || err != nil {
			g.drained = false
			return q, failed(ctx, err)
		}
		if err := g.exec(ctx, blpop); err != nil {
			return "", failed(ctx, err)
		}
	} else {
		var cmds []*once
		if tell {
			cmds = append(cmds, park)
		}
		cmds = append(cmds, blpop)
		if len(g.queues) == 1 {
			// One round trip less: the dequeue waits behind the bell in the same pipeline.
			cmd = newOnce(ctx, g.asks[g.queues[0]].args...)
			cmds = append(cmds, cmd)
		}
		if err := g.exec(ctx, cmds...); err != nil {
			if cmd != nil && !errors.Is(err, errGivenUp) && cmd.Err() == nil {
				return "", cmd // the bell does not work, but something came
			}
			return "", failed(ctx, err)
		}
	}
	if tell {
		g.knows = !redis.HasErrorPrefix(park.Err(), "NOSCRIPT")
	}
	return g.heard(blpop.Val()), cmd
}

// heard is the queue that a bell rang for, by the answer of BLPOP.
func (g *gate) heard(answer any) string {
	g.drained = true // a ring is for one delivery
	reply, ok := answer.([]any)
	if !ok || len(reply) != 2 {
		return ""
	}
	bell, _ := reply[0].(string)
	if bell == g.own {
		place, _ := reply[1].(string)
		if n, err := strconv.Atoi(place); err == nil && n >= 1 && n <= len(g.queues) {
			g.drained = false // for nobody knows how many
			return g.queues[n-1]
		}
		return g.own
	}
	// The ring may have taken another waiting off the list than ours; then ours stands for that worker's, and the next one needs
	// a name of its own. Else there would be one name for two that wait.
	g.waitings.Add(1)
	for _, q := range g.queues {
		if bell == g.keys.Bell(q) {
			return q
		}
	}
	return ""
}

// parkCommand registers the gate as parked, with the script's text where Redis may not have it.
func (g *gate) parkCommand(ctx context.Context) *once {
	step := 3
	if g.cluster {
		step = 1 // asynq's keys lie elsewhere
	}
	args := []any{"evalsha", parkScript.SHA(), 1 + step*len(g.queues), g.own}
	if !g.knows {
		args[0], args[1] = "eval", parkScript.Src
	}
	for _, q := range g.queues {
		args = append(args, g.keys.Parked(q))
		if step == 3 {
			args = append(args, g.asks[q].keys[0], g.asks[q].keys[1])
		}
	}
	return newOnce(ctx, append(args, g.waiting(), g.counts().Milliseconds(), bellTTL.Milliseconds(), step)...)
}

// pending returns a queue in which something waits to be taken; only in a cluster, where no script sees all queues.
func (g *gate) pending(ctx context.Context) (string, error) {
	type look struct {
		queue          string
		length, paused *once
	}
	looks := make([]look, 0, len(g.names))
	var cmds []*once
	for _, q := range g.names {
		l := look{q, newOnce(ctx, "llen", g.asks[q].keys[0]), newOnce(ctx, "exists", g.asks[q].keys[1])}
		looks, cmds = append(looks, l), append(cmds, l.length, l.paused)
	}
	if err := g.exec(ctx, cmds...); err != nil {
		return "", err
	}
	for _, l := range looks {
		if l.length.Val() != int64(0) && l.paused.Val() == int64(0) {
			return l.queue, nil
		}
	}
	return "", nil
}

// exec sends commands in one pipeline. Its error is that of the first which failed; nothing in a list is no failure, nor is a
// script that Redis does not have.
func (g *gate) exec(ctx context.Context, cmds ...*once) (failure error) {
	pipe := g.bells.Pipeline()
	for _, cmd := range cmds {
		_ = pipe.Process(ctx, cmd)
	}
	if !answer(g, func() { _, _ = pipe.Exec(ctx) }) {
		return errGivenUp
	}
	for _, cmd := range cmds {
		err := cmd.Err()
		g.answered(err)
		if failure == nil && err != nil && !errors.Is(err, redis.Nil) && !redis.HasErrorPrefix(err, "NOSCRIPT") {
			failure = err
		}
	}
	return failure
}

// failed is a dequeue that failed with err, nil if that is nil.
func failed(ctx context.Context, err error) *once {
	if err == nil {
		return nil
	}
	cmd := newOnce(ctx)
	cmd.SetErr(err)
	return cmd
}

// wake ends the gate's waiting; it does nothing when the gate is not parked. Without Redis it gives up after a second: the
// wait ends by itself then.
func (g *gate) wake() {
	if !g.parked.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = g.conn.Do(ctx, &conn.Call{Script: wakeScript, Keys: []string{g.own}, Args: []any{bellTTL.Milliseconds()}})
}
