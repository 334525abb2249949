package carrier

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// capture is the Redis client that our asynq.Client is given: it takes down what asynq would send, sends nothing and says that
// it worked. Whatever else asynq might call meets the nil client inside and panics, which build reports.
type capture struct {
	redis.UniversalClient
	carrier *Carrier
}

// message is one enqueue as asynq builds it.
type message struct {
	src  string
	keys []string
	args []any
}

type messageKey struct{}

// errShape says that asynq's client does not do what it did in the version this package was written for.
var errShape = errors.New("asynq's client does not enqueue by one script")

// build lets asynq build the message of a payload.
func (c *Carrier) build(queue string, payload []byte) (m *message, err error) {
	defer func() {
		if x := recover(); x != nil {
			err = fmt.Errorf("%w: %v", errShape, x)
		}
	}()
	m = &message{}
	ctx := context.WithValue(context.Background(), messageKey{}, m)
	if _, err := c.client.EnqueueContext(ctx, asynq.NewTask(TaskType, payload), c.taskOptions(queue)...); err != nil {
		return nil, err
	}
	if m.src == "" || len(m.keys) == 0 {
		return nil, errShape
	}
	return m, nil
}

// SAdd takes down how asynq publishes a queue; asynq asks once per queue and process.
func (c *capture) SAdd(ctx context.Context, key string, members ...any) *redis.IntCmd {
	args := append([]any{"sadd", key}, members...)
	if len(members) == 1 {
		if queue, ok := members[0].(string); ok {
			c.carrier.published.LoadOrStore(queue, &publication{args: args})
		}
	}
	cmd := redis.NewIntCmd(ctx, args...)
	cmd.SetVal(1)
	return cmd
}

// EvalSha knows no script, so asynq goes on to Eval with the script's text.
func (c *capture) EvalSha(ctx context.Context, _ string, _ []string, _ ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	cmd.SetErr(noScript{})
	return cmd
}

// Eval takes down the script and says that it enqueued one task.
func (c *capture) Eval(ctx context.Context, script string, keys []string, args ...any) *redis.Cmd {
	cmd := redis.NewCmd(ctx)
	m, ok := ctx.Value(messageKey{}).(*message)
	if !ok || m.src != "" {
		cmd.SetErr(errShape)
		return cmd
	}
	m.src, m.keys, m.args = script, keys, args
	cmd.SetVal(int64(1))
	return cmd
}

// noScript is Redis' reply to the hash of a script that it does not have.
type noScript struct{} //nolint:errname // named for what it is: a reply

func (noScript) Error() string { return "NOSCRIPT No matching script. Please use EVAL." }
func (noScript) RedisError()   {}
