// Package fleet is what every worker does for all: it beats, so that its life can be seen, and keeps open work moving (delays,
// backoffs, what nobody enqueued, ends that others wait for). Any worker may do each of these at any time; every act is one
// script that happens once.
package fleet

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
)

// Clock is Redis' clock as far as it is known here. It is safe for concurrent use.
type Clock struct {
	ahead atomic.Int64 // ns that Redis is before us

	mu    sync.Mutex
	doubt time.Duration // half a round trip of the reading that ahead comes from
	read  time.Time     // when that was
}

// Readings age: after this long a worse one replaces a better one.
const clockAge = time.Minute

// Now returns the time by Redis' clock, this process' own time where Redis was never asked.
func (c *Clock) Now() time.Time { return c.At(time.Now()) }

// At returns what Redis' clock showed when ours showed local.
func (c *Clock) At(local time.Time) time.Time { return local.Add(time.Duration(c.ahead.Load())) }

// Until returns how long it is to a time of Redis' clock.
func (c *Clock) Until(t time.Time) time.Duration { return t.Sub(c.Now()) }

// Ask reads the clock once.
func (c *Clock) Ask(ctx context.Context, via *conn.Conn) error {
	call := conn.NewCommand("time")
	sent := time.Now()
	if err := via.Do(ctx, call); err != nil {
		return err
	}
	return c.take(sent, call)
}

// take learns from the answer to TIME, which was sent then.
func (c *Clock) take(sent time.Time, call *conn.Call) error {
	if call.Err != nil {
		return call.Err
	}
	now := time.Now()
	there, err := redisTime(call.Reply)
	if err != nil {
		return err
	}
	c.learn(sent, now, there)
	return nil
}

// learn takes in that Redis' clock said there between sent and now. A reading that contradicts the one before is of another clock, a new
// master's or one that was set, and counts however slow it was: deadlines are judged by it.
func (c *Clock) learn(sent, now, there time.Time) {
	half := now.Sub(sent) / 2
	ahead := there.Sub(sent.Add(half))
	c.mu.Lock()
	defer c.mu.Unlock()
	another := (ahead - time.Duration(c.ahead.Load())).Abs() > half+c.doubt+clocksApart
	if c.read.IsZero() || another || half <= c.doubt || now.Sub(c.read) > clockAge {
		c.doubt, c.read = half, now
		c.ahead.Store(int64(ahead))
	}
}

func redisTime(reply any) (time.Time, error) {
	list, ok := reply.([]any)
	if !ok || len(list) != 2 {
		return time.Time{}, fmt.Errorf("TIME answered %v", reply)
	}
	var n [2]int64
	for i, v := range list {
		var err error
		if n[i], err = strconv.ParseInt(fmt.Sprint(v), 10, 64); err != nil {
			return time.Time{}, fmt.Errorf("TIME answered %v", reply)
		}
	}
	return time.Unix(n[0], n[1]*1000), nil
}
