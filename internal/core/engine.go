package core

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/fleet"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/inbox"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// Shard tags of a namespace (decision 7): a cluster spreads over its masters, a single Redis gains nothing from more than one.
const (
	shardsSingle  = 1
	shardsCluster = 64
)

// Config configures an Engine. All fields are required; the zero Durable asks for nothing.
type Config struct {
	Namespace string
	Patience  time.Duration   // of awaits without an answer from Redis
	Durable   conn.Policy     // of creations, commits and what handlers end with
	Ended     func(id string) // hears of tasks that were told to have ended; it must not block
	Logger    *slog.Logger
}

// Engine is what stands behind a client and its handles. It is safe for concurrent use.
type Engine struct {
	conn     *conn.Conn
	keys     keys.Space
	records  *record.Store
	groups   *group.Store
	carrier  *carrier.Carrier
	inbox    *inbox.Inbox
	patience time.Duration
	log      *slog.Logger

	life   context.Context //nolint:containedctx // ends with Close, and the reads of awaits with it
	end    context.CancelFunc
	agreed atomic.Bool
	room   room
	closed atomic.Bool
}

// calmCheck is how often awaits look for a lost notice where none can be lost; still oftener than an await's patience ends.
const calmCheck = 20 * time.Second

// NewEngine returns the engine of a namespace over rdb, which stays the caller's. It does no I/O.
func NewEngine(rdb redis.UniversalClient, cfg Config) *Engine {
	shards := shardsSingle
	if _, ok := rdb.(*redis.ClusterClient); ok {
		shards = shardsCluster
	}
	c, k := conn.NewDurable(rdb, cfg.Logger, cfg.Durable), keys.New(cfg.Namespace, shards)
	e := &Engine{conn: c, keys: k, records: record.NewStore(c, k), patience: cfg.Patience, log: cfg.Logger}
	e.life, e.end = context.WithCancel(context.Background())
	e.carrier = carrier.New(c, k, fleet.NewCrew(e.life, c, k).Of)
	e.groups = group.NewStore(e.records)
	check := inbox.CheckEvery
	if c.Private() {
		check = calmCheck
	}
	e.inbox = inbox.New(inbox.Config{
		CheckEvery: check,
		Watch:      e.records.WatchOnce,
		Open:       func(id string) inbox.Channel { return inbox.Subscribe(rdb, k.Inbox(id)) },
		Sweep:      e.groups.Sweep,
		Deliver:    func(ctx context.Context, id string) error { return e.groups.DeliverOutbox(ctx, k.Shard(id)) },
		LastAnswer: c.LastAnswer,
		Heard:      c.Answered,
		Failed:     c.Failed,
		NoAnswer:   noAnswer,
		Patience:   cfg.Patience,
		Ended:      cfg.Ended,
		Log:        cfg.Logger,
	})
	return e
}

func noAnswer(err error) bool {
	_, ok := errors.AsType[*conn.Error](err)
	return ok
}

// Conn returns the way to Redis.
func (e *Engine) Conn() *conn.Conn { return e.conn }

// Keys returns the names of the namespace.
func (e *Engine) Keys() keys.Space { return e.keys }

// Records returns the records.
func (e *Engine) Records() *record.Store { return e.records }

// Groups returns the groups.
func (e *Engine) Groups() *group.Store { return e.groups }

// Carrier returns the hand-over to asynq.
func (e *Engine) Carrier() *carrier.Carrier { return e.carrier }

// Log returns the client's logger.
func (e *Engine) Log() *slog.Logger { return e.log }

// AwaitsOpen returns how many IDs are waited for.
func (e *Engine) AwaitsOpen() int { return e.inbox.Stats().Open }

// Inbox returns the counters of the inbox.
func (e *Engine) Inbox() inbox.Stats { return e.inbox.Stats() }

// Expect notes that a task is about to be created with this process' inbox registered, and returns the inbox' address; "" where it
// is not worth it. Created must follow.
func (e *Engine) Expect(id string) (inbox string) { return e.inbox.Expect(id) }

// Created says whether Redis has the task that was expected.
func (e *Engine) Created(id string, stored bool) { e.inbox.Created(id, stored) }

// Close ends the awaits in flight with inbox.ErrClosed. Closing twice is no error.
func (e *Engine) Close() {
	if !e.closed.Swap(true) {
		e.end()
		_ = e.inbox.Close()
	}
}

// Closed reports whether the engine was closed.
func (e *Engine) Closed() bool { return e.closed.Load() }
