package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gatherq/gatherq/internal/core"
)

// clockSlack is how far this host's clock may be from Redis' before Check says so. Nothing of gatherq compares the two;
// deadlines that callers compute with time.Now do.
const clockSlack = time.Second

// Check reads what Redis is set to and refuses what breaks a promise: a version before 7.0, a replica, a policy that evicts
// keys (unless AllowEviction), a namespace of another schema, a Durability that it cannot confirm, each a *RejectedError. What is only risky it logs as warnings: no
// append-only file, no maxmemory, a clock that is off by more than a second. What an ACL hides is not known, and no error. Run does the
// same when it starts; so does the first creation of a client, which logs what is risky as information.
func (c *Client) Check(ctx context.Context) error {
	if err := c.usable(); err != nil {
		return err
	}
	err := c.check(ctx, slog.LevelWarn)
	if r, ok := errors.AsType[*RejectedError](err); ok {
		return r
	}
	if err != nil {
		return unread("", err)
	}
	return nil
}

// check looks at Redis; what is risky it logs at that level.
func (c *Client) check(ctx context.Context, level slog.Level) error {
	first, err := c.engine.Look(ctx)
	if err != nil {
		return disagreement(err)
	}
	log := func(message string, args ...any) { c.cfg.Logger.Log(ctx, level, message, args...) }
	for _, s := range first.Servers {
		r := checkServer(s, c.cfg.AllowEviction, log)
		if r == nil {
			r = c.cfg.checkDurable(s, log)
		}
		if r != nil {
			r.whole = true
			return r
		}
	}
	if err := c.checkAlways(ctx); err != nil {
		return err
	}
	if first.Off < -clockSlack || first.Off > clockSlack {
		log("this host's clock and Redis' differ", "by", first.Off.Round(time.Millisecond), "allowed", clockSlack)
	}
	c.checked.Store(true)
	return nil
}

// ready makes sure, before anything is stored, that Redis and the namespace are what this client can work with, and that there is
// room for so many bytes. It writes nothing. After its first success it mostly costs nothing.
func (c *Client) ready(ctx context.Context, bytes int64) error {
	if !c.checked.Load() {
		if err := c.check(ctx, slog.LevelInfo); err != nil {
			return err
		}
	}
	return c.engine.Room(ctx, bytes)
}

// checkServer judges the fields that are there. Valkey reports the version of Redis that it is compatible with.
func checkServer(s core.Server, allowEviction bool, log func(message string, args ...any)) *RejectedError {
	if v := s["redis_version"]; v != "" {
		if !atLeast(v, 7, 0) {
			return rejected("redis_version", v+", at least 7.0")
		}
	}
	if role := s["role"]; role != "" && role != "master" {
		return rejected("role", role+", must be the master")
	}
	if p := s["maxmemory_policy"]; p != "" && p != "noeviction" {
		if !allowEviction {
			return rejected("maxmemory_policy", fmt.Sprintf("%s, must be noeviction, or allowed by AllowEviction (--allow-eviction)", p))
		}
		log("Redis evicts keys when it is full: tasks and results may vanish", "maxmemory_policy", p)
	}
	if s["aof_enabled"] == "0" {
		log("Redis has no append-only file: a restart loses what was created since the last snapshot")
	}
	if s["maxmemory"] == "0" {
		log("Redis has no maxmemory: when memory runs out the system ends it, instead of new work being refused")
	}
	return nil
}
