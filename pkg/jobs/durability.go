package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/core"
)

// Durability says when a write counts as done, of a creation and of an outcome alike. Too little in time is ErrNotDurable
// with the handle at a creation; an outcome that falls short is counted (WorkerStats) and told all the same, so it may be
// seen before it is durable, and after a failover another one may stand there. Outcomes that no handler brought about (cancelled or
// overdue before the start, crash loops) are not waited for.
type Durability int

// The durabilities, with Replicas. Fsync needs Redis 7.2, or ClientConfig.AppendFsyncAlways.
const (
	Local Durability = 0  // in the master, on its disk as its append-only file is set
	Fsync Durability = -1 // after the master's fsync
)

// maxReplicas bounds Replicas: more than any Redis has.
const maxReplicas = 100

// Replicas is after n replicas have it, n from 1 to 100.
func Replicas(n int) Durability {
	if n < 1 {
		return Durability(-1 - max(-n, 1)) // refused by NewClient, unlike Local and Fsync
	}
	return Durability(n)
}

// ParseDurability reads what String writes: "local", "fsync" or "replicas=N".
func ParseDurability(s string) (Durability, error) {
	switch s {
	case "local":
		return Local, nil
	case "fsync":
		return Fsync, nil
	}
	if digits, ok := strings.CutPrefix(s, "replicas="); ok {
		if n, err := strconv.Atoi(digits); err == nil && n >= 1 && n <= maxReplicas {
			return Replicas(n), nil
		}
		return Local, rejected("durability", fmt.Sprintf("%s, from replicas=1 to replicas=%d", s, maxReplicas))
	}
	return Local, rejected("durability", s+": must be local, replicas=N or fsync")
}

func (d Durability) String() string {
	switch {
	case d == Local:
		return "local"
	case d == Fsync:
		return "fsync"
	case d < Fsync:
		return "replicas=" + strconv.Itoa(int(d-Fsync))
	}
	return "replicas=" + strconv.Itoa(int(d))
}

const (
	defaultDurableWithin = time.Second
	maxDurableWithin     = time.Minute
)

func (cfg ClientConfig) checkDurability() *RejectedError {
	switch {
	case cfg.Durability < Fsync:
		return rejected("durability", cfg.Durability.String()+", at least replicas=1")
	case cfg.Durability > maxReplicas:
		return rejected("durability", fmt.Sprintf("%s, at most replicas=%d", cfg.Durability, maxReplicas))
	case cfg.AppendFsyncAlways && cfg.Durability != Fsync:
		return rejected("append-fsync-always", "it says how Fsync is reached, and durability is "+cfg.Durability.String())
	}
	return between("durable-within", cfg.DurableWithin, time.Millisecond, maxDurableWithin)
}

// policy is what the connection waits for.
func (cfg ClientConfig) policy() conn.Policy {
	switch {
	case cfg.Durability > 0:
		return conn.Policy{Replicas: int(cfg.Durability), Within: cfg.DurableWithin}
	case cfg.Durability == Fsync && !cfg.AppendFsyncAlways:
		return conn.Policy{Fsync: true, Within: cfg.DurableWithin}
	}
	return conn.Policy{} // with appendfsync always Redis answers after its fsync by itself
}

// keepsConnections refuses clients whose connections nobody can hold from a write to its confirmation.
func (cfg ClientConfig) keepsConnections(rdb redis.UniversalClient) *RejectedError {
	if cfg.Durability == Local {
		return nil
	}
	switch c := rdb.(type) {
	case *redis.ClusterClient:
		return nil
	case *redis.Client:
		if c.Options().Network == "pipe" {
			return rejected("durability", cfg.Durability.String()+": an embedded Redis has neither replicas nor a file, only local goes with it")
		}
		return nil
	}
	return rejected("durability", fmt.Sprintf("%s needs a *redis.Client or a *redis.ClusterClient, not a %T", cfg.Durability, rdb))
}

// checkDurable judges whether a server can do what the config asks for, by the fields that are there.
func (cfg ClientConfig) checkDurable(s core.Server, log func(message string, args ...any)) *RejectedError {
	switch {
	case cfg.Durability == Fsync && s["aof_enabled"] == "0":
		return rejected("durability", "fsync: Redis has no append-only file (appendonly no)")
	case cfg.Durability == Fsync && !cfg.AppendFsyncAlways && s["redis_version"] != "" && !atLeast(s["redis_version"], 7, 2):
		return rejected("durability", "fsync: Redis "+s["redis_version"]+" has no WAITAOF, which came with 7.2; where Redis is set to "+
			"appendfsync always, AppendFsyncAlways (--append-fsync-always) says so")
	}
	if n, ok := s.Number("connected_slaves"); ok && cfg.Durability > 0 && n < int64(cfg.Durability) {
		log("Redis has fewer replicas than durability asks for: until there are more, creations fail with ErrNotDurable",
			"replicas", n, "durability", cfg.Durability.String())
	}
	return nil
}

// checkAlways refuses a caller's word that Redis itself contradicts.
func (c *Client) checkAlways(ctx context.Context) error {
	if !c.cfg.AppendFsyncAlways {
		return nil
	}
	found, err := c.engine.Setting(ctx, "appendfsync")
	if err != nil {
		return err
	}
	for _, v := range found {
		if v != "always" {
			r := rejected("append-fsync-always", "Redis is set to appendfsync "+v)
			r.whole = true
			return r
		}
	}
	return nil
}

// atLeast compares a version as INFO has it; one that cannot be read is new enough.
func atLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	a, err1 := strconv.Atoi(first)
	b, err2 := strconv.Atoi(second)
	if err1 != nil || err2 != nil {
		return true
	}
	return cmp.Or(cmp.Compare(a, major), cmp.Compare(b, minor)) >= 0
}

// notDurable is the error of a creation that stands, and was not confirmed; nil where short is.
func notDurable(id string, short error) error {
	if short == nil {
		return nil
	}
	return &Error{Kind: ErrNotDurable, ID: id, cause: short}
}

// stands reports whether err leaves a creation standing, so that its handle is returned.
func stands(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return err == nil || ok && e.Kind == ErrNotDurable
}
