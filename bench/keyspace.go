package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/keys"
)

// keyspace is the random name of one run: the namespace of gatherq, the prefix of the references' keys and the name of asynq's queue.
type keyspace string

func newKeyspace() keyspace { return keyspace("bench-" + strings.ToLower(rand.Text()[:12])) }

func (k keyspace) key(name string) string { return string(k) + ":" + name }
func (k keyspace) queue() string          { return string(k) }
func (k keyspace) space() keys.Space      { return keys.New(string(k), 1) }

// asynq's keys that all queues and servers share.
const (
	asynqQueues  = "asynq:queues"
	asynqServers = "asynq:servers"
	asynqWorkers = "asynq:workers"
)

// removeRound clears what a round left while workers and queues stay in use: of gatherq all that bears an ID, but not what the
// fleet knows of itself.
func (k keyspace) removeRound(ctx context.Context, rdb *redis.Client) error {
	return removeMatching(ctx, rdb, k.key("*"), "asynq:{"+k.queue()+"}:*", k.space().Prefix(0)+"?:*")
}

// removeAll clears everything that the run left, once its processes have ended: one that was killed has not taken its own entry off
// asynq's lists.
func (k keyspace) removeAll(ctx context.Context, rdb *redis.Client, pids []int) error {
	ours := strings.TrimSuffix(k.space().Meta(), "meta") + "*"
	theirs := "asynq:{" + k.space().AsynqQueue("*") + "}:*"
	if err := removeMatching(ctx, rdb, k.key("*"), "asynq:{"+k.queue()+"}:*", theirs, ours, k.space().Prefix(0)+"*"); err != nil {
		return err
	}
	queues, err := rdb.SMembers(ctx, asynqQueues).Result()
	if err != nil {
		return err
	}
	for _, q := range queues {
		if q == string(k) || strings.HasPrefix(q, string(k)+":") {
			if err := rdb.SRem(ctx, asynqQueues, q).Err(); err != nil {
				return err
			}
		}
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	for _, list := range []string{asynqServers, asynqWorkers} {
		if err := removeListed(ctx, rdb, list, host, pids); err != nil {
			return err
		}
	}
	return nil
}

// removeListed takes the keys of the processes off a list of asynq's, and deletes them.
func removeListed(ctx context.Context, rdb *redis.Client, list, host string, pids []int) error {
	listed, err := rdb.ZRange(ctx, list, 0, -1).Result()
	if err != nil {
		return err
	}
	for _, key := range listed {
		for _, pid := range pids {
			if !strings.HasPrefix(key, fmt.Sprintf("%s:{%s:%d:", list, host, pid)) {
				continue
			}
			if err := errors.Join(rdb.Del(ctx, key).Err(), rdb.ZRem(ctx, list, key).Err()); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeMatching deletes at once, not in the background: freeing memory later would be charged to the next round.
func removeMatching(ctx context.Context, rdb *redis.Client, patterns ...string) error {
	for _, pattern := range patterns {
		for cursor := uint64(0); ; {
			found, next, err := rdb.Scan(ctx, cursor, pattern, 1000).Result()
			if err != nil {
				return fmt.Errorf("SCAN %s: %w", pattern, err)
			}
			if len(found) > 0 {
				if err := rdb.Del(ctx, found...).Err(); err != nil {
					return fmt.Errorf("DEL of %s: %w", pattern, err)
				}
			}
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return nil
}

// settleDown waits, a few seconds at most, until the fleet has put away what is open: marks go out late.
func (k keyspace) settleDown(ctx context.Context, rdb *redis.Client) error {
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); {
		open, err := rdb.ZCard(ctx, k.space().Open(0)).Result()
		if err != nil || open == 0 {
			return err
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// pause waits, or returns the cause of the context's end.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
