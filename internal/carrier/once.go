package carrier

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// once is a command that go-redis does not repeat after a lost reply: a dequeue that was executed has taken a message.
// The message of a lost reply stays in asynq's active list until its lease is over; then asynq delivers it again.
type once struct{ *redis.Cmd }

func newOnce(ctx context.Context, args ...any) *once { return &once{redis.NewCmd(ctx, args...)} }

// NoRetry makes go-redis send it once, alone and in pipelines.
func (*once) NoRetry() bool { return true }
