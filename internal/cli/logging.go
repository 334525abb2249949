package cli

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"
)

// Logging holds the flags --log-level and --log-format.
type Logging struct {
	Level  string
	Format string
}

// Register adds the flags to fs; level is the default of --log-level.
func (l *Logging) Register(fs *pflag.FlagSet, level string) {
	fs.StringVar(&l.Level, "log-level", level, "least level that is logged to stderr: debug, info, warn or error")
	fs.StringVar(&l.Format, "log-format", "text", "form of the log lines: text or json")
}

// Logger returns the logger that the flags ask for, over w, and makes go-redis write to it as well (at level debug: what
// matters of its messages comes back as an error). The error is one of usage.
func (l *Logging) Logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	switch strings.ToLower(l.Level) {
	case "debug":
		level = slog.LevelDebug
	case "info":
		level = slog.LevelInfo
	case "warn":
		level = slog.LevelWarn
	case "error":
		level = slog.LevelError
	default:
		return nil, Usagef("--log-level %q: must be debug, info, warn or error", l.Level)
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler
	switch strings.ToLower(l.Format) {
	case "text":
		handler = slog.NewTextHandler(w, options)
	case "json":
		handler = slog.NewJSONHandler(w, options)
	default:
		return nil, Usagef("--log-format %q: must be text or json", l.Format)
	}
	log := slog.New(handler)
	redis.SetLogger(redisLog{log})
	return log, nil
}

// redisLog passes go-redis' own messages on.
type redisLog struct{ log *slog.Logger }

// Printf is what go-redis calls.
func (r redisLog) Printf(ctx context.Context, format string, args ...any) {
	if r.log.Enabled(ctx, slog.LevelDebug) {
		r.log.DebugContext(ctx, "go-redis: "+fmt.Sprintf(format, args...))
	}
}
