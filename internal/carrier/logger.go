package carrier

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/hibiken/asynq"
)

// logger passes on what asynq says. Its routine news are debugging for us. Its errors are commands that failed once, a dropped connection
// is several: asynq's loops send the next one, and what got lost with one is found by the fleet, so they are warnings. Fatal, after
// which asynq's own logger ends the process, is an error.
type logger struct{ to *slog.Logger }

func (l logger) log(level slog.Level, args []any) {
	l.to.Log(context.Background(), level, "asynq: "+fmt.Sprint(args...))
}

func (l logger) Debug(args ...any) { l.log(slog.LevelDebug, args) }
func (l logger) Info(args ...any)  { l.log(slog.LevelDebug, args) }
func (l logger) Warn(args ...any)  { l.log(slog.LevelWarn, args) }
func (l logger) Error(args ...any) { l.log(slog.LevelWarn, args) }
func (l logger) Fatal(args ...any) { l.log(slog.LevelError, args) }

// asynqLevel is from where on asynq need not even format.
func asynqLevel(l *slog.Logger) asynq.LogLevel {
	if l.Enabled(context.Background(), slog.LevelDebug) {
		return asynq.InfoLevel // below it is a line for each empty queue
	}
	return asynq.WarnLevel
}
