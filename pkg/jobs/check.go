package jobs

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
)

// clockSlack is how far this host's clock may be from Redis' before Check says so. Nothing of gatherq compares the two;
// deadlines that callers compute with time.Now do.
const clockSlack = time.Second

// Check reads what Redis is set to and refuses what breaks a promise: a version before 7.0, a replica, a policy that evicts
// keys (unless AllowEviction), each a *RejectedError. What is only risky it logs: no append-only file, no maxmemory, a clock
// that is off by more than a second. What an ACL hides is not known, and no error. Run does the same when it starts.
func (c *Client) Check(ctx context.Context) error {
	if err := c.usable(); err != nil {
		return err
	}
	info, clock := conn.NewCommand("info"), conn.NewCommand("time")
	began := time.Now()
	if err := c.engine.Conn().Do(ctx, info, clock); err != nil {
		return unread("", err)
	}
	if text, ok := info.Reply.(string); ok {
		if r := checkInfo(parseInfo(text), c.cfg.AllowEviction, c.cfg.Logger); r != nil {
			return r
		}
	} else {
		c.cfg.Logger.Debug("what Redis is set to is not known", "err", info.Err)
	}
	if now, ok := redisTime(clock.Reply); ok {
		// the answer was made somewhere between the question and now
		if off := now.Sub(began); off < -clockSlack || off > time.Since(began)+clockSlack {
			c.cfg.Logger.Warn("this host's clock and Redis' differ", "by", off.Round(time.Millisecond), "allowed", clockSlack)
		}
	}
	return nil
}

// parseInfo reads the answer to INFO.
func parseInfo(text string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	return fields
}

// checkInfo judges the fields that are there. Valkey reports the version of Redis that it is compatible with.
func checkInfo(f map[string]string, allowEviction bool, log *slog.Logger) *RejectedError {
	if v := f["redis_version"]; v != "" {
		first, _, _ := strings.Cut(v, ".")
		if major, err := strconv.Atoi(first); err == nil && major < 7 {
			return rejected("redis_version", v+", at least 7.0")
		}
	}
	if role := f["role"]; role != "" && role != "master" {
		return rejected("role", role+", must be the master")
	}
	if p := f["maxmemory_policy"]; p != "" && p != "noeviction" {
		if !allowEviction {
			return rejected("maxmemory_policy", fmt.Sprintf("%s, must be noeviction (or AllowEviction)", p))
		}
		log.Warn("Redis evicts keys when it is full: tasks and results may vanish", "maxmemory_policy", p)
	}
	if f["aof_enabled"] == "0" {
		log.Warn("Redis has no append-only file: a restart loses what was created since the last snapshot")
	}
	if f["maxmemory"] == "0" {
		log.Warn("Redis has no maxmemory: when memory runs out the system ends it, instead of new work being refused")
	}
	return nil
}

// redisTime reads the answer to TIME.
func redisTime(reply any) (time.Time, bool) {
	list, ok := reply.([]any)
	if !ok || len(list) != 2 {
		return time.Time{}, false
	}
	sec, err1 := strconv.ParseInt(fmt.Sprint(list[0]), 10, 64)
	usec, err2 := strconv.ParseInt(fmt.Sprint(list[1]), 10, 64)
	return time.Unix(sec, usec*1000), err1 == nil && err2 == nil
}
