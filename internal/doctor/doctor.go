// Package doctor reads a namespace and says what in it is orphaned, stale or unmatched with asynq. It writes nothing and asks in
// batches: never for all keys at once.
//
// What it reads changes meanwhile, so one look proves nothing: what a look finds is a finding only if a second one, some seconds
// later, finds the same. What the fleet repairs by itself in that time is none.
package doctor

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
)

// Kind is a kind of finding.
type Kind string

// The kinds. docs/operations.md says what each means.
const (
	OpenUnindexed   Kind = "open_unindexed"   // open work that the shard's index does not have
	OpenOrphan      Kind = "open_orphan"      // an entry of the index that stands for nothing open
	OpenExpires     Kind = "open_expires"     // open work with a time to live
	Overdue         Kind = "overdue"          // work that was to be looked at, and nobody has
	DeliveryMissing Kind = "delivery_missing" // open work that waits for a delivery that asynq does not have
	DeliveryStale   Kind = "delivery_stale"   // a delivery of asynq's that no record waits for
	DeliveryStray   Kind = "delivery_stray"   // a delivery that was handed out long ago and not acknowledged
	DeliveryParked  Kind = "delivery_parked"  // a delivery that asynq has archived or wants to deliver later
	DeliveryBroken  Kind = "delivery_broken"  // a message in a queue of ours without body, or that is not ours
	HolderDead      Kind = "holder_dead"      // something in the hands of a worker that does not live
	HoldingMissing  Kind = "holding_missing"  // something that a worker holds and its list of holdings lacks: no reaper would find it
	HoldingStale    Kind = "holding_stale"    // an entry of a list of holdings that the worker does not hold
	GroupStuck      Kind = "group_stuck"      // a group with unclaimed members and no ticket
	StagingLeft     Kind = "staging_left"     // arguments of a gather without its group, which do not expire
	OutboxLate      Kind = "outbox_late"      // an end that waits to be told
	NoTTL           Kind = "no_ttl"           // something that has ended and does not expire
	KeyOrphan       Kind = "key_orphan"       // a key of a group that is not there
	KeyUnknown      Kind = "key_unknown"      // a key of the namespace that this version does not know
	WorkerDead      Kind = "worker_dead"      // a worker on the list that is silent, and nobody has buried
)

// Kinds are all kinds.
var Kinds = []Kind{
	OpenUnindexed, OpenOrphan, OpenExpires, Overdue, DeliveryMissing, DeliveryStale, DeliveryStray, DeliveryParked, DeliveryBroken, HolderDead,
	HoldingMissing, HoldingStale, GroupStuck, StagingLeft, OutboxLate, NoTTL, KeyOrphan, KeyUnknown, WorkerDead,
}

// Finding is one thing that is wrong.
type Finding struct {
	Kind    Kind   `json:"kind"`
	Subject string `json:"subject"` // an ID, a key, a worker, or the ID of a message of asynq's
	Detail  string `json:"detail,omitempty"`
}

// Report is what Examine found.
type Report struct {
	Namespace                       string
	Findings                        []Finding // by kind and subject
	Keys, Open, Deliveries, Workers int       // that were looked at, by the last look
	Looks                           int
}

// patience says how long things may be as they are.
const (
	alive    = 30 * time.Second // since the last beat of a worker that counts as living
	late     = 15 * time.Second // past its time, or in an outbox
	page     = 500              // of what is read at once
	queues   = "asynq:queues"
	far      = 9e15 // the score of what waits for nobody here; compare FAR in the scripts
	readings = 256  // calls in one pipeline
)

// Config is what Examine works with. Again is how long it waits before it looks for the second time.
type Config struct {
	Redis     redis.UniversalClient
	Namespace string
	Again     time.Duration
	Log       *slog.Logger
}

// Examine looks through a namespace, and once more after Again where it found something. A namespace that nobody has used is
// healthy. The error is that of Redis, or of the context.
func Examine(ctx context.Context, cfg Config) (Report, error) {
	c := conn.New(cfg.Redis, cmp.Or(cfg.Log, slog.New(slog.DiscardHandler)))
	shards := 1
	get := conn.NewCommand("hget", keys.New(cfg.Namespace, 1).Meta(), "shards")
	if err := c.All(ctx, get); err != nil {
		return Report{}, fmt.Errorf("doctor: %w", err)
	}
	if text, ok := get.Reply.(string); ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return Report{}, fmt.Errorf("doctor: namespace %q: shards %q is not a number", cfg.Namespace, text)
		}
		shards = n
	}
	first := true
	var before map[Finding]bool
	for looks := 1; ; looks++ {
		l := newLook(c, keys.New(cfg.Namespace, shards))
		if err := l.run(ctx); err != nil {
			return Report{}, fmt.Errorf("doctor: %w", err)
		}
		r := Report{Namespace: cfg.Namespace, Keys: l.keysSeen, Open: l.openSeen, Deliveries: l.deliveries, Workers: len(l.workers), Looks: looks}
		now := make(map[Finding]bool, len(l.found))
		for _, f := range l.found {
			bare := Finding{Kind: f.Kind, Subject: f.Subject}
			if (first || before[bare]) && !now[bare] {
				now[bare] = true
				r.Findings = append(r.Findings, f)
			}
		}
		if !first || len(now) == 0 {
			slices.SortFunc(r.Findings, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Subject, b.Subject)) })
			return r, nil
		}
		first, before = false, now
		select {
		case <-time.After(cfg.Again):
		case <-ctx.Done():
			return Report{}, context.Cause(ctx)
		}
	}
}
