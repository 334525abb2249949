package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/bench/report"
	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/jobs"
)

const (
	firstContact   = 5 * time.Second
	cleanUpTime    = 60 * time.Second
	keysUnforced   = 1_000
	databasesAtAll = 1024 // more than any Redis is configured with
)

// session is one run. Its context ends on an interrupt or when a worker process dies; that closes the client, which ends every call
// that waits on Redis.
type session struct {
	cfg    Config
	ctx    context.Context //nolint:containedctx // the life of the session, which calls share
	cancel context.CancelCauseFunc
	rdb    *redis.Client
	env    report.Environment
	client *jobs.Client // of gatherq, over rdb: a new one for each scenario, which has no subscription yet
	keys   keyspace
	pids   []int // of all worker processes so far
}

func newSession(ctx context.Context, cfg Config) (*session, error) {
	rdb, err := connect(cfg.Target)
	if err != nil {
		return nil, err
	}
	s := &session{cfg: cfg, rdb: rdb, keys: newKeyspace()}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(s.ctx, func() { _ = rdb.Close() })
	return s, nil
}

// newClient returns a client of gatherq in the namespace of the run.
func newClient(rdb *redis.Client, k keyspace, stderr io.Writer) (*jobs.Client, error) {
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	return jobs.NewClient(rdb, jobs.ClientConfig{Namespace: string(k), Logger: log})
}

// environment reaches Redis for the first time: it returns what the figures depend on. A Redis with many keys is somebody's.
func (s *session) environment() (report.Environment, error) {
	ctx, cancel := context.WithTimeout(s.ctx, firstContact)
	defer cancel()
	env := report.Environment{
		Time: time.Now().UTC().Truncate(time.Second), Commit: cli.Commit(), Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		CPU: procLine("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), AOF: "off",
	}
	if kib, _, _ := strings.Cut(procLine("/proc/meminfo", "MemTotal"), " "); kib != "" {
		n, _ := strconv.Atoi(kib)
		env.MemoryMiB = n / 1024
	}
	info, err := readInfo(ctx, s.rdb)
	if err != nil {
		return env, unavailable(err)
	}
	env.Redis = info["redis_version"]
	if name := info["server_name"]; name != "" && name != "redis" {
		env.Redis = name + " " + info["valkey_version"]
	}
	if info["aof_enabled"] == "1" {
		env.AOF = "on"
		if fsync := s.rdb.ConfigGet(ctx, "appendfsync").Val()["appendfsync"]; fsync != "" {
			env.AOF = fsync
		}
	}
	env.Snapshots = s.rdb.ConfigGet(ctx, "save").Val()["save"]
	held := 0
	for database := range databasesAtAll {
		count, _, _ := strings.Cut(strings.TrimPrefix(info["db"+strconv.Itoa(database)], "keys="), ",")
		if n, err := strconv.Atoi(count); err == nil {
			held += n
		}
	}
	if held > keysUnforced && !s.cfg.Force {
		return env, cli.Usagef("%s holds %d keys, more than %d, so it is somebody's: --force to go on", s.cfg.Target, held, keysUnforced)
	}
	return env, nil
}

// unavailable makes an error of a Redis that cannot be talked to exit as such.
func unavailable(err error) error {
	if isUnreachable(err) {
		return cli.Exit(cli.ExitUnavailable, fmt.Errorf("redis is not reachable: %w", err))
	}
	return err
}

func isUnreachable(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF)
}

// cleanUp removes all keys of the run. It uses a client of its own, as an interrupted session has closed its client, and looks twice:
// a process that was killed may have sent its last commands a moment before.
func (s *session) cleanUp() error {
	s.cancel(nil)
	rdb, err := connect(s.cfg.Target)
	if err != nil {
		return err
	}
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(context.Background(), cleanUpTime)
	defer cancel()
	for range 2 {
		if err := s.keys.removeAll(ctx, rdb, s.pids); err != nil {
			return fmt.Errorf("removing the keys of this run (%s): %w", s.keys, err)
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// procLine returns what stands behind a name in a file of /proc, "" where there is none.
func procLine(file, name string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
