package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// InterruptContext returns a context that the first SIGINT or SIGTERM ends with ErrInterrupted as its cause. A second signal
// ends the process as usual. Stop releases it and must be called.
func InterruptContext(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			signal.Stop(signals)
			cancel(ErrInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(context.Canceled)
	}
}
