package main

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// answers remembers when Redis last answered any command of this process. It is a hook of the client, so that health costs no
// commands of its own while the worker is at work.
type answers struct {
	start time.Time
	last  atomic.Int64 // since start; 0: never
}

func newAnswers() *answers { return &answers{start: time.Now()} }

// since returns how long ago Redis answered; false if it never did.
func (a *answers) since() (time.Duration, bool) {
	last := a.last.Load()
	return time.Since(a.start) - time.Duration(last), last != 0
}

func (a *answers) note(err error) {
	if _, reply := errors.AsType[redis.Error](err); err == nil || reply {
		a.last.Store(int64(max(time.Since(a.start), 1)))
	}
}

// DialHook is part of redis.Hook: a connection alone is no answer.
func (a *answers) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook notes the answer of a single command.
func (a *answers) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		a.note(err)
		return err
	}
}

// ProcessPipelineHook notes the answer of a pipeline.
func (a *answers) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		a.note(err)
		return err
	}
}
