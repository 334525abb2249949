package carrier

import (
	"context"
	"errors"

	"github.com/gatherq/gatherq/internal/conn"
)

// maxBurst is how many messages the gate asks for at once, at most. asynq asks for one after the other, each in a round trip of
// its own, which bounds a worker however many slots it has (ADR 8).
const maxBurst = 32

// ask asks for as many messages as there are slots and as the last answers promise: twice as many when all were there, no more
// than were there when some were not. The answer is that to the first, for which a slot is in hand; what came beyond it waits
// here for asynq's next questions, each with its slot set aside.
func (g *gate) ask(ctx context.Context, a ask) *once {
	n := 1
	for n < g.burst && g.slots.TryAcquire() {
		n++
	}
	cmds := make([]*once, n)
	for i := range cmds {
		cmds[i] = newOnce(ctx, a.args...)
	}
	if n == 1 {
		cmds[0] = g.send(ctx, cmds[0])
	} else if err := g.exec(ctx, cmds...); errors.Is(err, errGivenUp) {
		for range n - 1 {
			g.slots.Release()
		}
		return failed(ctx, err)
	}
	hits := 0
	for i, cmd := range cmds {
		if cmd.Err() == nil {
			hits++
		}
		switch {
		case i == 0:
		case cmd.Err() != nil:
			g.slots.Release()
		case cmds[0].Err() != nil: // the first did not come: this one stands for it
			cmds[0] = cmd
			g.slots.Release()
		default:
			g.setAside(cmd.Val())
			g.ready = append(g.ready, cmd)
		}
	}
	if hits == n {
		g.burst = min(2*n, maxBurst)
	} else {
		g.burst = max(hits, 1)
	}
	return cmds[0]
}

// next returns a message that came with an earlier one, nil if there is none. Its slot is set aside.
func (g *gate) next() *once {
	if len(g.ready) == 0 {
		return nil
	}
	cmd := g.ready[0]
	g.ready = g.ready[1:]
	return cmd
}

// putBack returns the messages that asynq never asked for to the heads of their queues. Should that fail, they are found among the
// strays. Only for after asynq's end.
func (g *gate) putBack() {
	if len(g.ready) == 0 {
		return
	}
	var calls []*conn.Call
	for _, cmd := range g.ready {
		text, _ := cmd.Val().(string)
		id, ok := messageID([]byte(text))
		if !ok {
			continue
		}
		prefix := "asynq:{" + messageQueue([]byte(text)) + "}:"
		calls = append(calls, strayCall(prefix, id, true))
	}
	g.ready = nil
	ctx, stop := context.WithTimeout(context.Background(), lastWords)
	defer stop()
	_ = g.conn.Do(ctx, calls...)
}
