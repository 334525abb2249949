package cli

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/spf13/pflag"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// DefaultURL is the Redis that is used when nothing names one.
const DefaultURL = "redis://127.0.0.1:6379/0"

// maxURLFile bounds what --redis-file reads: more than this is not the URL of a Redis.
const maxURLFile = 64 << 10

// Connection holds the flags --redis, --redis-file, --namespace, --allow-eviction and those of durability.
type Connection struct {
	URL           string
	File          string
	Namespace     string
	AllowEviction bool

	durability string
	within     time.Duration
	always     bool

	flags *pflag.FlagSet
}

// Register adds the flags to fs.
func (c *Connection) Register(fs *pflag.FlagSet) {
	c.flags = fs
	fs.StringVar(&c.URL, "redis", "", "`URL` of Redis: redis://, rediss://, redis+sentinel://h1,h2/master/0, redis+cluster://h1,h2 or embedded; also GATHERQ_REDIS_URL (default \""+DefaultURL+"\")")
	fs.StringVar(&c.File, "redis-file", "", "`FILE` that holds the URL, so that the password is not in the list of processes")
	fs.StringVar(&c.Namespace, "namespace", "gatherq", "separates systems that share a Redis")
	fs.BoolVar(&c.AllowEviction, "allow-eviction", false, "accept a Redis that evicts keys when it is full, which breaks promises")
	fs.StringVar(&c.durability, "durability", "local", "what a creation, and here the end of a task, waits for: `local`, replicas=N or fsync")
	fs.DurationVar(&c.within, "durable-within", time.Second, "how long --durability replicas=N or fsync may take, 1ms to 1m")
	fs.BoolVar(&c.always, "append-fsync-always", false, "Redis is set to appendfsync always: --durability fsync then works below Redis 7.2")
	for _, name := range []string{"redis", "redis-file"} {
		// Their sources exclude each other, so they are not bound one by one.
		_ = fs.SetAnnotation(name, ownEnv, []string{"true"})
	}
}

// Configure puts what the flags say about the client into cfg. The error is one of usage.
func (c *Connection) Configure(cfg *jobs.ClientConfig) error {
	d, err := jobs.ParseDurability(c.durability)
	if err != nil {
		return Usagef("--durability %w", err)
	}
	if c.within <= 0 { // zero would be the default
		return Usagef("--durable-within %v: must be from 1ms to 1m", c.within)
	}
	cfg.Namespace, cfg.AllowEviction = c.Namespace, c.AllowEviction
	cfg.Durability, cfg.DurableWithin, cfg.AppendFsyncAlways = d, c.within, c.always
	return nil
}

// Target returns the Redis that the flags name, else the environment (GATHERQ_REDIS_URL, GATHERQ_REDIS, GATHERQ_REDIS_FILE), else
// DefaultURL. The error is one of usage, names where the URL came from and holds no part of it.
func (c *Connection) Target() (Target, error) {
	t, _, err := c.target()
	return t, err
}

// target also returns the file the URL was read from, if any.
func (c *Connection) target() (t Target, file string, err error) {
	source, value, file, err := c.source()
	if err != nil {
		return Target{}, "", err
	}
	if file != "" {
		if value, err = readURL(file); err != nil {
			return Target{}, "", Usagef("%s: %w", source, err)
		}
	}
	if t, err = ParseURL(value); err != nil {
		return Target{}, "", Usagef("%s: %w", source, err)
	}
	return t, file, nil
}

// source says where the URL comes from: a name for messages, and its value or its file.
func (c *Connection) source() (name, value, file string, err error) {
	given := func(flag string) bool { return c.flags != nil && c.flags.Changed(flag) }
	switch {
	case given("redis") && given("redis-file"):
		return "", "", "", Usagef("--redis and --redis-file exclude each other")
	case given("redis"):
		return "--redis", c.URL, "", nil
	case given("redis-file"):
		if c.File == "" {
			return "", "", "", Usagef("--redis-file: the name is empty")
		}
		return "--redis-file", "", c.File, nil
	}
	for _, env := range []string{"GATHERQ_REDIS_URL", EnvName("redis")} {
		if value := os.Getenv(env); value != "" {
			if os.Getenv(EnvName("redis-file")) != "" {
				return "", "", "", Usagef("%s and %s exclude each other", env, EnvName("redis-file"))
			}
			return env, value, "", nil
		}
	}
	if file := os.Getenv(EnvName("redis-file")); file != "" {
		return EnvName("redis-file"), "", file, nil
	}
	return "--redis", DefaultURL, "", nil
}

func readURL(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxURLFile+1))
	if err != nil {
		return "", err
	}
	if len(data) > maxURLFile {
		return "", fmt.Errorf("%s is longer than %d bytes", file, maxURLFile)
	}
	url := strings.TrimSpace(string(data))
	if url == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return url, nil
}

// OpenConfig configures Connection.Open. The zero value works.
type OpenConfig struct {
	// PoolSize bounds the connections to each Redis server; they are opened as needed. Defaults to 10 × cores.
	PoolSize int

	// Listen is the address on which an embedded Redis listens for other processes. Defaults to none.
	Listen string

	// Notices is where the notice about an embedded Redis goes. Defaults to os.Stderr.
	Notices io.Writer
}

// Redis is a client of the Redis that the flags name, and that Redis itself where it is embedded.
type Redis struct {
	Client redis.UniversalClient
	Target Target

	stop func() // of an embedded one
}

// Open returns a client of the Redis that the flags name. It does not wait for Redis: a server that is not there shows at the
// first command. An embedded one is started, and said so. With --redis-file user and password are read again from the file
// for every new connection, so that a rotated password needs no restart.
func (c *Connection) Open(cfg OpenConfig) (*Redis, error) {
	t, file, err := c.target()
	if err != nil {
		return nil, err
	}
	if t.Kind == Embedded {
		return openEmbedded(cfg)
	}
	if cfg.Listen != "" {
		return nil, Usagef("--embedded-listen goes with --redis embedded alone")
	}
	if file != "" {
		options := t.options(cfg)
		options.CredentialsProvider = (&credentials{file: file, user: t.Username, password: t.Password}).current
		return &Redis{Client: redis.NewUniversalClient(options), Target: t}, nil
	}
	return t.Open(cfg), nil
}

// Open returns a client of t, which must not be embedded. It does no I/O. Programs that start others hand the Target over, not flags.
func (t Target) Open(cfg OpenConfig) *Redis {
	return &Redis{Client: redis.NewUniversalClient(t.options(cfg)), Target: t}
}

// Close closes the client, and ends an embedded Redis with all that is in it.
func (r *Redis) Close() error {
	err := r.Client.Close()
	if r.stop != nil {
		r.stop()
	}
	return err
}

func (t Target) options(cfg OpenConfig) *redis.UniversalOptions {
	o := &redis.UniversalOptions{
		Addrs:            t.Addrs,
		DB:               t.DB,
		Username:         t.Username,
		Password:         t.Password,
		MasterName:       t.Master,
		SentinelUsername: t.SentinelUsername,
		SentinelPassword: t.SentinelPassword,
		IsClusterMode:    t.Kind == Cluster,
		PoolSize:         poolSize(cfg),
		// Without this a context's end is not heard while Redis accepts and does not answer.
		ContextTimeoutEnabled: true,
		// Our own layer tries again, and says so; five silent dials at each of its tries would only delay its word.
		DialerRetries: 1,
		// A hosted Redis' maintenance hints: a command at every connect that other servers answer with an error.
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if t.TLS {
		// ServerName is that of the address dialled.
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return o
}

func poolSize(cfg OpenConfig) int {
	if cfg.PoolSize > 0 {
		return cfg.PoolSize
	}
	return 10 * runtime.GOMAXPROCS(0)
}

// credentials reads user and password from a URL file.
type credentials struct {
	file string

	mu             sync.Mutex
	user, password string // as they were read last
}

// current returns what the file says now, or said last while it cannot be read: it may be in the middle of its replacement.
func (c *credentials) current() (user, password string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if url, err := readURL(c.file); err == nil {
		if t, err := ParseURL(url); err == nil {
			c.user, c.password = t.Username, t.Password
		}
	}
	return c.user, c.password
}
