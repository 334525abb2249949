package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
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

// Config configures an Engine. All fields are required.
type Config struct {
	Namespace string
	Patience  time.Duration   // of awaits without an answer from Redis
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
	c, k := conn.New(rdb, cfg.Logger), keys.New(cfg.Namespace, shards)
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
		Watch:      e.records.Watch,
		Open:       func(id string) inbox.Channel { return inbox.Subscribe(rdb, k.Inbox(id)) },
		Sweep:      e.groups.Sweep,
		Deliver:    func(ctx context.Context, id string) error { return e.groups.DeliverOutbox(ctx, k.Shard(id)) },
		LastAnswer: c.LastAnswer,
		Heard:      c.Answered,
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

// fieldShards is the field of keys.Meta that holds the number of shard tags.
const fieldShards = "shards"

// ShardsError is a namespace that was begun with another number of shard tags, say by a client that was not told of the cluster:
// each would look where the other never writes.
type ShardsError struct {
	Namespace   string
	Stored, Own int
}

func (e *ShardsError) Error() string {
	return fmt.Sprintf("namespace %q has %d shards in this Redis, this client works with %d: use the same kind of client (single or cluster) everywhere",
		e.Namespace, e.Stored, e.Own)
}

// Agree makes sure, before the first write, that all clients of the namespace mean the same number of shards. After its first
// success it costs nothing. The error is a *ShardsError or that of Redis.
func (e *Engine) Agree(ctx context.Context) error {
	if e.agreed.Load() {
		return nil
	}
	put := conn.NewCommand("hsetnx", e.keys.Meta(), fieldShards, e.keys.Shards())
	return e.agree(ctx, put)
}

// Agrees is Agree without a write: a namespace that nobody has begun agrees with everybody. It is for what may still be refused,
// and then leaves nothing.
func (e *Engine) Agrees(ctx context.Context) error {
	if e.agreed.Load() {
		return nil
	}
	return e.agree(ctx)
}

// agree reads the number of shards behind the calls of before.
func (e *Engine) agree(ctx context.Context, before ...*conn.Call) error {
	get := conn.NewCommand("hget", e.keys.Meta(), fieldShards)
	if err := e.conn.Do(ctx, append(before, get)...); err != nil {
		return err
	}
	for _, call := range append(before, get) {
		if call.Err != nil {
			return call.Err
		}
	}
	stored, _ := get.Reply.(string)
	if stored == "" {
		return nil // nobody has written yet
	}
	n, err := strconv.Atoi(stored)
	if err != nil {
		return fmt.Errorf("namespace %q: shards %q is not a number", e.keys.Namespace(), stored)
	}
	if n != e.keys.Shards() {
		return &ShardsError{Namespace: e.keys.Namespace(), Stored: n, Own: e.keys.Shards()}
	}
	e.agreed.Store(true)
	return nil
}
