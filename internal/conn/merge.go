package conn

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// command is one command of a flight, and the calls that it answers: several where they are items of one script.
type command struct {
	cmd   *noRetry
	calls []*Call
	bytes int
	whole bool
}

// compose makes the commands of a flight. Calls of an item script in the same shard become one command, as long as every parcel's
// calls stay in their order; parcels among each other have none.
func compose(ctx context.Context, batch []*parcel) []*command {
	type place struct {
		script *Script
		key    string
		whole  bool
	}
	var cmds []*command
	var open map[place]int // the command that takes further items
	for _, p := range batch {
		last := -1 // the place of the parcel's call before
		for _, call := range p.calls {
			if call.Script != nil && call.Script.items > 0 && !p.apart {
				at := place{call.Script, call.Keys[0], p.whole}
				if i, ok := open[at]; ok && i >= last && len(cmds[i].calls) < mergeItems && cmds[i].bytes+call.size <= mergeBytes {
					cmds[i].calls = append(cmds[i].calls, call)
					cmds[i].bytes += call.size
					last = i
					continue
				}
				if open == nil {
					open = make(map[place]int, 4)
				}
				open[at] = len(cmds)
			}
			last = len(cmds)
			cmds = append(cmds, &command{calls: []*Call{call}, bytes: call.size, whole: p.whole})
		}
	}
	for _, c := range cmds {
		c.cmd = newNoRetry(ctx, c.args()...)
	}
	return cmds
}

func (c *command) args() []any {
	first := c.calls[0]
	if first.Script == nil {
		return first.Args
	}
	n := 3 + len(first.Keys)
	for _, call := range c.calls {
		n += len(call.Args)
	}
	args := make([]any, 0, n)
	if c.whole {
		args = append(args, "eval", first.Script.Src, len(first.Keys))
	} else {
		args = append(args, "evalsha", first.Script.sha, len(first.Keys))
	}
	for _, k := range first.Keys {
		args = append(args, k)
	}
	for _, call := range c.calls {
		args = append(args, call.Args...)
	}
	return args
}

// errApart is the answer to a call whose command failed for one of several: each is asked again by itself, so that everyone gets
// the answer that is its own.
var errApart = errors.New("its command failed for several")

// deal gives each call its answer.
func (c *command) deal() {
	reply, err := c.cmd.Result()
	if errors.Is(err, redis.Nil) {
		reply, err = nil, nil
	}
	if c.calls[0].Script == nil || c.calls[0].Script.items == 0 {
		c.calls[0].Reply, c.calls[0].Err = reply, err
		return
	}
	if err == nil {
		list, ok := reply.([]any)
		if ok && len(list) == len(c.calls) {
			for i, call := range c.calls {
				call.Reply, call.Err = list[i], nil
			}
			return
		}
		err = fmt.Errorf("script %s answered %T to %d items", c.calls[0].Script.Name, reply, len(c.calls))
	}
	if len(c.calls) > 1 && isReply(err) && !Passing(err) && !noScript(err) {
		err = errApart
	}
	for _, call := range c.calls {
		call.Reply, call.Err = nil, err
	}
}
