package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/embedded"
)

// openEmbedded starts a Redis in this process and says so.
func openEmbedded(cfg OpenConfig) (*Redis, error) {
	e, err := embedded.Start(cfg.Listen)
	if err != nil {
		return nil, Usagef("--embedded-listen %s: %w", cfg.Listen, err)
	}
	var notices io.Writer = os.Stderr
	if cfg.Notices != nil {
		notices = cfg.Notices
	}
	reach := "only this process can reach it"
	if e.Addr() != "" {
		reach = "other processes reach it at redis://" + e.Addr() + "/0"
	}
	fmt.Fprintf(notices, "Embedded Redis: %s, and nothing in it survives the end of this process.\n", reach)
	options := e.Options()
	options.PoolSize = poolSize(cfg)
	options.ContextTimeoutEnabled = true
	return &Redis{
		Client: redis.NewClient(options),
		Target: Target{Kind: Embedded},
		stop:   e.Close,
	}, nil
}
