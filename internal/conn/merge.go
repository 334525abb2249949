package conn

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"
)

// Joint makes one command of calls that leave together. Calls whose joints are equal are joined, so it must be comparable, and all
// that its commands depend on must be in it.
type Joint interface {
	// Limit returns how much weight one command may have where total is to leave; a call that is heavier travels alone.
	Limit(total int) int
	// Join returns the command that stands for the items of the calls, which has neither joint nor items itself. Its answer is
	// that of each; the error is that nothing can be sent.
	Join(items []any) (*Call, error)
}

// joinError is a call that no command can be made of.
type joinError struct{ error }

// command is one command of a flight, and the calls that it answers: several where they are items of one script, or joined.
type command struct {
	cmd    *noRetry
	calls  []*Call
	bytes  int
	weight int
	whole  bool
	spread bool // over a cluster
}

// place is what calls have in common that may become one command.
type place struct {
	script *Script
	key    string
	joint  Joint
	whole  bool
}

// place returns the place of a call, false if it must be a command by itself.
func (c *Call) place(whole bool) (at place, ok bool) {
	switch {
	case c.Joint != nil:
		return place{joint: c.Joint, whole: whole}, true
	case c.Script != nil && c.Script.items > 0:
		return place{script: c.Script, key: c.Keys[0], whole: whole}, true
	}
	return place{}, false
}

// opening is the command of a place that takes further calls.
type opening struct {
	total int // weight of all calls of the flight there
	limit int // of one command
	at    int // in the flight
	cmd   *command
}

// begin makes c, at that place in the flight, the command that takes further calls.
func (o *opening) begin(c *command, at int) { o.cmd, o.at = c, at }

// takes reports whether the call of c has gone into the command that stands there, which must not be before that of the parcel's
// last call.
func (o *opening) takes(c *command, last int) bool {
	if o.cmd == nil || o.at < last {
		return false
	}
	if o.limit == 0 {
		o.limit = mergeItems
		if j := c.calls[0].Joint; j != nil {
			o.limit = j.Limit(o.total)
		}
	}
	if o.cmd.weight+c.weight > o.limit || o.cmd.bytes+c.bytes > mergeBytes {
		return false
	}
	o.cmd.calls, o.cmd.bytes, o.cmd.weight = append(o.cmd.calls, c.calls...), o.cmd.bytes+c.bytes, o.cmd.weight+c.weight
	return true
}

// compose makes the commands of a flight. Calls that may become one do, as long as every parcel's calls stay in their order;
// parcels among each other have none.
func compose(ctx context.Context, batch []*parcel) []*command {
	open := make(map[place]*opening, 4)
	for _, p := range batch {
		for _, call := range p.calls {
			if at, ok := call.place(p.whole); ok && !p.apart {
				if open[at] == nil {
					open[at] = &opening{}
				}
				open[at].total += max(call.Weight, 1)
			}
		}
	}
	var cmds []*command
	for _, p := range batch {
		last := -1 // the place of the parcel's call before
		for _, call := range p.calls {
			c := &command{calls: []*Call{call}, bytes: call.size, weight: max(call.Weight, 1), whole: p.whole, spread: p.spread}
			if at, ok := call.place(p.whole); ok && !p.apart {
				o := open[at]
				if o.takes(c, last) {
					last = o.at
					continue
				}
				o.begin(c, len(cmds))
			}
			last = len(cmds)
			cmds = append(cmds, c)
		}
	}
	ready := cmds[:0]
	for _, c := range cmds {
		args, err := c.args()
		if err != nil {
			c.answer(nil, joinError{err})
			continue
		}
		c.cmd = newNoRetry(ctx, args...)
		ready = append(ready, c)
	}
	return ready
}

// args returns the whole command.
func (c *command) args() ([]any, error) {
	head := c.calls[0]
	if head.Joint != nil {
		items := make([]any, len(c.calls))
		for i, call := range c.calls {
			items[i] = call.Item
		}
		var err error
		if head, err = head.Joint.Join(items); err != nil {
			return nil, err
		}
		for _, call := range c.calls {
			call.Joined = head
		}
	}
	if head.Script == nil {
		return head.Args, nil
	}
	keys := head.declared(c.spread)
	n := 3 + len(keys) + len(head.Args)*len(c.calls)
	args := make([]any, 0, n)
	if c.whole {
		args = append(args, "eval", head.Script.Src, len(keys))
	} else {
		args = append(args, "evalsha", head.Script.sha, len(keys))
	}
	for _, k := range keys {
		args = append(args, k)
	}
	if c.calls[0].Joint != nil {
		return append(args, head.Args...), nil
	}
	for _, call := range c.calls {
		args = append(args, call.Args...)
	}
	return args, nil
}

// errApart is the answer to a call whose command failed for one of several: each is asked again by itself, so that everyone gets
// the answer that is its own.
var errApart = errors.New("its command failed for several")

// exec sends a pipeline. Where a new connection is refused (WRONGPASS), go-redis says so of the pipeline alone, and its commands look as if
// they had been answered with nothing.
func exec(ctx context.Context, pipe redis.Pipeliner, cmds []*command) error {
	_, err := pipe.Exec(ctx)
	if err == nil || slices.ContainsFunc(cmds, func(c *command) bool { return c.cmd.Err() != nil }) {
		return err
	}
	for _, c := range cmds {
		c.cmd.SetErr(err)
	}
	return err
}

// deal gives each call its answer.
func (c *command) deal() {
	reply, err := c.cmd.Result()
	if errors.Is(err, redis.Nil) {
		reply, err = nil, nil
	}
	script := c.calls[0].Script
	if err == nil && script != nil && script.items > 0 {
		if list, ok := reply.([]any); ok && len(list) == len(c.calls) {
			for i, call := range c.calls {
				call.Reply, call.Err = list[i], nil
			}
			return
		}
		reply, err = nil, fmt.Errorf("script %s answered %T to %d items", script.Name, reply, len(c.calls))
	}
	if len(c.calls) > 1 && isReply(err) && !Passing(err) && !noScript(err) {
		err = errApart
	}
	c.answer(reply, err)
}

// answer gives each call the same.
func (c *command) answer(reply any, err error) {
	for _, call := range c.calls {
		call.Reply, call.Err = reply, err
	}
}
