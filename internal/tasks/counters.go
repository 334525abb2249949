package tasks

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// countWithin bounds one count. It is not bound to the handler's context: what was executed is counted, also when the task has
// been cancelled or runs elsewhere by now.
const countWithin = 10 * time.Second

// redisCounters count in the keys sim:<key> and sim:<key>:max of a Redis, without a TTL.
type redisCounters struct{ rdb redis.UniversalClient }

// keepMax raises a number to at least another one. It may run twice.
var keepMax = redis.NewScript(`
local now = tonumber(redis.call('GET', KEYS[1]) or '-1')
if tonumber(ARGV[1]) > now then redis.call('SET', KEYS[1], ARGV[1]) end
return 0`)

// Incr is INCR of sim:<key>, sent once: after a lost reply it is an error.
func (c redisCounters) Incr(ctx context.Context, key string) error {
	_, err := c.send(ctx, "incr", key)
	return err
}

// Enter counts up and keeps the maximum. The maximum of what INCR answered is that of the count, so each key may have its own
// slot in a cluster.
func (c redisCounters) Enter(ctx context.Context, key string) (leave func() error, err error) {
	n, err := c.send(ctx, "incr", key)
	if err != nil {
		return nil, err
	}
	leave = func() error {
		_, err := c.send(ctx, "decr", key)
		return err
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), countWithin)
	defer cancel()
	if err := keepMax.Run(within, c.rdb, []string{"sim:" + key + ":max"}, n).Err(); err != nil {
		_ = leave()
		return nil, err
	}
	return leave, nil
}

func (c redisCounters) send(ctx context.Context, command, key string) (int64, error) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), countWithin)
	defer cancel()
	cmd := &once{redis.NewCmd(within, command, "sim:"+key)}
	if err := c.rdb.Process(within, cmd); err != nil {
		return 0, err
	}
	return cmd.Int64()
}

// once is a command that go-redis does not send again: counted twice would be wrong.
type once struct{ *redis.Cmd }

// NoRetry makes go-redis send it once.
func (*once) NoRetry() bool { return true }
