package jobs

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/names"
	"github.com/gatherq/gatherq/internal/record"
)

// Bounds and defaults of a client's config.
const (
	defaultMaxBytes = 256 << 10
	maxBytes        = record.MaxValue
	defaultPatience = 60 * time.Second
)

// ClientConfig configures a Client. The zero value works.
type ClientConfig struct {
	Namespace         string        // separates systems that share a Redis: [a-z0-9][a-z0-9._-]{0,63}. Defaults to "gatherq".
	MaxArgs           int           // bytes of one call's encoded arguments. Defaults to 256 KiB, at most 1 MiB.
	MaxResult         int           // bytes of one encoded result. Defaults to 256 KiB, at most 1 MiB.
	Retention         time.Duration // of outcomes, from the end, where a call says nothing. 1 s to 30 d. Defaults to 1 h.
	Patience          time.Duration // of awaits without one answer from Redis, then ErrUnavailable. Defaults to 60 s, 5 s before the first answer.
	Durability        Durability    // what a creation and the end of a task wait for. Defaults to Local.
	DurableWithin     time.Duration // how long Replicas and Fsync may take. 1 ms to 1 min. Defaults to 1 s.
	AppendFsyncAlways bool          // the caller's word that Redis is set so: Fsync then works below Redis 7.2, and waits for nothing.
	AllowEviction     bool          // accepts a Redis that evicts keys, which breaks promises. Defaults to refusing it.
	Logger            *slog.Logger  // Defaults to slog.Default().
}

// withDefaults fills in what was not said.
func (cfg ClientConfig) withDefaults() ClientConfig {
	cfg.Namespace = cmp.Or(cfg.Namespace, names.DefaultNamespace)
	cfg.MaxArgs = cmp.Or(cfg.MaxArgs, defaultMaxBytes)
	cfg.MaxResult = cmp.Or(cfg.MaxResult, defaultMaxBytes)
	cfg.Retention = cmp.Or(cfg.Retention, defaultRetention)
	cfg.Patience = cmp.Or(cfg.Patience, defaultPatience)
	cfg.DurableWithin = cmp.Or(cfg.DurableWithin, defaultDurableWithin)
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return cfg
}

func (cfg ClientConfig) validate() *RejectedError {
	if r := refusal(names.Namespace(cfg.Namespace)); r != nil {
		return r
	}
	if r := between("max-args", cfg.MaxArgs, 1, maxBytes); r != nil {
		return r
	}
	if r := between("max-result", cfg.MaxResult, 1, maxBytes); r != nil {
		return r
	}
	if r := checkRetention(cfg.Retention); r != nil {
		return r
	}
	if r := between("patience", cfg.Patience, time.Millisecond, maxAhead); r != nil {
		return r
	}
	return cfg.checkDurability()
}

// Client creates tasks and holds the one inbox over which its process awaits. It is safe for concurrent use.
type Client struct {
	cfg     ClientConfig
	engine  *core.Engine
	marks   *marker
	checked atomic.Bool // Redis was looked at, and is not refused
	closed  atomic.Bool

	mu    sync.Mutex     // of apart: nothing begins once Close waits
	apart sync.WaitGroup // work that outlives the call that began it, always bounded in time

	created, gathered, refused atomic.Uint64
}

// NewClient returns a client over rdb, which stays the caller's to close. It does no I/O; the error is a *RejectedError
// about rdb or cfg.
func NewClient(rdb redis.UniversalClient, cfg ClientConfig) (*Client, error) {
	cfg = cfg.withDefaults()
	if r := cfg.validate(); r != nil {
		return nil, r
	}
	if r := checkRedis(rdb); r != nil {
		return nil, r
	}
	if r := cfg.keepsConnections(rdb); r != nil {
		return nil, r
	}
	marks := &marker{log: cfg.Logger}
	e := core.NewEngine(rdb, core.Config{Namespace: cfg.Namespace, Patience: cfg.Patience, Durable: cfg.policy(), Logger: cfg.Logger, Ended: marks.ended})
	marks.mark = e.Records().Mark
	return &Client{cfg: cfg, engine: e, marks: marks}, nil
}

// checkRedis refuses clients that cannot keep the promises: a replica may not know yet what was just written.
func checkRedis(rdb redis.UniversalClient) *RejectedError {
	switch c := rdb.(type) {
	case nil:
		return rejected("redis", "nil")
	case *redis.ClusterClient:
		if o := c.Options(); o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return rejected("redis", "the client reads from replicas (ReadOnly, RouteByLatency or RouteRandomly)")
		}
	}
	return nil
}

// Close ends the inbox; awaits in flight return ErrClosed, and so does every call that comes later. Tasks run on. It takes
// a few seconds at most, where Redis does not answer; closing twice is no error.
func (c *Client) Close() error {
	c.mu.Lock()
	was := c.closed.Swap(true)
	c.mu.Unlock()
	if was {
		return nil
	}
	c.marks.close()
	c.apart.Wait()
	c.engine.Close()
	return nil
}

// usable tells what keeps a client from being used.
func (c *Client) usable() error {
	if c == nil || c.engine == nil {
		return rejected("client", "nil: make one with NewClient")
	}
	if c.closed.Load() {
		return ErrClosed
	}
	return nil
}

// aside runs f apart from the call that wants it, bounded in time, because the call's own context may be over. After Close it
// does nothing: f is never more than tidying up.
func (c *Client) aside(limit time.Duration, f func(context.Context)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed.Load() {
		return
	}
	c.apart.Go(func() {
		ctx, stop := context.WithTimeout(context.Background(), limit)
		defer stop()
		f(ctx)
	})
}

// Stats returns counters since the start: tasks created, groups gathered, creations refused or failed, awaits that are open.
func (c *Client) Stats() ClientStats {
	return ClientStats{
		Created: c.created.Load(), Gathered: c.gathered.Load(), Refused: c.refused.Load(),
		AwaitsOpen: c.engine.AwaitsOpen(),
	}
}

// ClientStats is a snapshot of a Client.
type ClientStats struct {
	Created, Gathered, Refused uint64
	AwaitsOpen                 int
}

// Creator is where a task is created: a *Client.
type Creator interface {
	creator() *Client
}

func (c *Client) creator() *Client { return c }

// clientOf returns the client behind in, if it can be used.
func clientOf(in Creator) (*Client, error) {
	if in == nil {
		return nil, rejected("client", "nil: make one with NewClient")
	}
	c := in.creator()
	return c, c.usable()
}
