package conn

import (
	"context"
	"errors"
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// isReply reports whether Redis itself said err, so that the command is known to have been answered.
func isReply(err error) bool {
	var re redis.Error
	return errors.As(err, &re)
}

// Passing reports whether an error reply is about Redis' state and may go away: the command was not executed.
func Passing(err error) bool {
	if err == nil {
		return false
	}
	s := err.Error()
	for _, p := range []string{"LOADING ", "READONLY ", "CLUSTERDOWN ", "TRYAGAIN ", "MASTERDOWN ", "NOREPLICAS ", "MISCONF ", "BUSY ", "UNBLOCKED ", "MOVED ", "ASK "} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return strings.HasPrefix(s, "ERR max number of clients")
}

// noScript reports whether Redis lacks a script that was sent by its name.
func noScript(err error) bool { return redis.HasErrorPrefix(err, "NOSCRIPT") }

// unsent reports whether err proves that nothing went out: no connection could be had.
func unsent(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	return errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrClosed) || errors.Is(err, context.Canceled) && strings.Contains(err.Error(), "dial")
}

// noRetry is a command that go-redis sends once.
type noRetry struct{ *redis.Cmd }

func newNoRetry(ctx context.Context, args ...any) *noRetry {
	return &noRetry{redis.NewCmd(ctx, args...)}
}

// NoRetry makes go-redis send it once, alone and in pipelines.
func (*noRetry) NoRetry() bool { return true }
