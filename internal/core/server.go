package core

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
)

// Server is what INFO says of one Redis server, by the names that it gives the fields. What an ACL hides is not there.
type Server map[string]string

// Number returns a field as a number, false if it is not known.
func (s Server) Number(field string) (int64, bool) {
	n, err := strconv.ParseInt(s[field], 10, 64)
	return n, err == nil
}

// First is what a client's first look at Redis finds.
type First struct {
	Servers []Server      // all masters
	Off     time.Duration // by how much this host's clock and Redis' differ; 0: not known, or as far as can be told not at all
}

// Look reads what Redis is set to and what the clients of the namespace agreed upon, in one pipeline; in a cluster it asks each master
// besides. It writes nothing. The error is a *NamespaceError or that of Redis; that an ACL denies INFO is none.
func (e *Engine) Look(ctx context.Context) (First, error) {
	var f First
	namespace, clock := e.namespaceCall(), conn.NewCommand("time")
	calls := []*conn.Call{namespace, clock}
	info := conn.NewCommand("info")
	_, cluster := e.conn.Redis().(*redis.ClusterClient)
	if !cluster {
		calls = append(calls, info)
	}
	began := time.Now()
	if err := e.conn.Do(ctx, calls...); err != nil {
		return f, err
	}
	if now, ok := redisTime(clock.Reply); ok {
		// the answer was made somewhere between the question and now
		if off := now.Sub(began); off < 0 {
			f.Off = off
		} else if off > time.Since(began) {
			f.Off = off - time.Since(began)
		}
	}
	var err error
	if !cluster {
		f.Servers = readServers(info.Reply)
	} else if f.Servers, err = e.masters(ctx); err != nil {
		return f, err
	}
	if info.Err != nil {
		e.log.Debug("what Redis is set to is not known", "err", info.Err)
	}
	e.room.learn(f.Servers)
	return f, e.agrees(namespace)
}

// servers asks for a part of INFO of all masters.
func (e *Engine) servers(ctx context.Context, section string) ([]Server, error) {
	if _, ok := e.conn.Redis().(*redis.ClusterClient); ok {
		return e.masters(ctx, section)
	}
	info := conn.NewCommand("info", section)
	if err := e.conn.Do(ctx, info); err != nil {
		return nil, err
	}
	return readServers(info.Reply), nil
}

// masters asks each master of a cluster for its INFO.
func (e *Engine) masters(ctx context.Context, section ...string) (all []Server, err error) {
	cluster := e.conn.Redis().(*redis.ClusterClient) //nolint:forcetypeassert // its callers have looked
	var mu sync.Mutex
	err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		text, err := master.Info(ctx, section...).Result()
		if err != nil {
			if isReply(err) {
				return nil // denied
			}
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, readServers(text)...)
		return nil
	})
	if err != nil {
		err = &conn.Error{Err: err}
	}
	return all, err
}

// Setting returns what all masters are set to; of those whose ACL denies CONFIG nothing.
func (e *Engine) Setting(ctx context.Context, name string) (found []string, err error) {
	cluster, ok := e.conn.Redis().(*redis.ClusterClient)
	if !ok {
		get := conn.NewCommand("config", "get", name)
		if err := e.conn.Do(ctx, get); err != nil {
			return nil, err
		}
		return readSetting(get.Reply, name), nil
	}
	var mu sync.Mutex
	err = cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		reply, err := master.Do(ctx, "config", "get", name).Result()
		if err != nil && !isReply(err) {
			return &conn.Error{Err: err}
		}
		mu.Lock()
		defer mu.Unlock()
		found = append(found, readSetting(reply, name)...)
		return nil
	})
	return found, err
}

// readSetting reads the answer to CONFIG GET, in either version of the protocol.
func readSetting(reply any, name string) []string {
	switch r := reply.(type) {
	case map[any]any:
		if v, ok := r[name].(string); ok {
			return []string{v}
		}
	case []any:
		if len(r) == 2 {
			if v, ok := r[1].(string); ok {
				return []string{v}
			}
		}
	}
	return nil
}

// readServers reads the answer to INFO, if it is one.
func readServers(reply any) []Server {
	text, ok := reply.(string)
	if !ok {
		return nil
	}
	s := Server{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			s[name] = value
		}
	}
	return []Server{s}
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

// isReply reports whether Redis itself said err.
func isReply(err error) bool {
	_, ok := errors.AsType[redis.Error](err)
	return ok
}
