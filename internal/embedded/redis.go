package embedded

import (
	"context"
	"crypto/sha1" //nolint:gosec // EVALSHA names scripts by SHA-1
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// tick is how often times to live are brought up to the clock, and so how late a key may vanish. miniredis can do so at every
// access instead (ClockTTL), but then each one walks through all keys.
const tick = 100 * time.Millisecond

// Redis is a running Redis. It is safe for concurrent use.
type Redis struct {
	mini *miniredis.Miniredis
	addr string
	bare sync.Map // SHA-1 of a script → that of the same without its first line

	mu   sync.Mutex
	srv  *server.Server // nil once closed
	stop chan struct{}  // closed by Close
	done sync.WaitGroup
}

// Start starts an empty Redis. With an address ("127.0.0.1:6379", port 0 for any free one) it listens there, for other
// processes; with none it opens no port and serves only clients made with Options. It does without sockets then, so it works
// inside a testing/synctest bubble, on the bubble's clock.
func Start(addr string) (*Redis, error) {
	r := &Redis{mini: miniredis.NewMiniRedis(), stop: make(chan struct{})}
	if addr != "" {
		if err := r.mini.StartAddr(addr); err != nil {
			return nil, fmt.Errorf("embedded Redis: %w", err)
		}
		r.addr = r.mini.Addr()
	} else {
		// The first Dial starts miniredis without a listener. Its pipe holds nothing back, which is not enough for Options.
		c, err := r.mini.Dial()
		if err != nil {
			return nil, fmt.Errorf("embedded Redis: %w", err)
		}
		_ = c.Close()
	}
	r.srv = r.mini.Server()
	r.srv.SetPreHook(r.strip)
	r.done.Go(r.age)
	return r, nil
}

// strip takes the first line off scripts that begin with "#!", with which Redis is told what a script may do: miniredis does not know
// it, and has no limit of memory either. It changes the command's own arguments, before miniredis looks at them.
func (r *Redis) strip(_ *server.Peer, cmd string, args ...string) (done bool) {
	if len(args) == 0 || cmd != "EVAL" && cmd != "EVALSHA" {
		return false
	}
	script := &args[0]
	if cmd == "EVALSHA" {
		if sha, ok := r.bare.Load(*script); ok {
			*script = sha.(string) //nolint:forcetypeassert // nothing else is stored
		}
		return false
	}
	if first, rest, _ := strings.Cut(*script, "\n"); strings.HasPrefix(first, "#!") {
		rest = "\n" + rest // the lines keep their numbers
		r.bare.Store(sha(*script), sha(rest))
		*script = rest
	}
	return false
}

func sha(script string) string {
	sum := sha1.Sum([]byte(script)) //nolint:gosec // EVALSHA names scripts by SHA-1
	return hex.EncodeToString(sum[:])
}

// age lets time pass for times to live. Redis' TIME is the process' own clock and needs no help.
func (r *Redis) age() {
	t := time.NewTicker(tick)
	defer t.Stop()
	last := time.Now()
	for {
		select {
		case <-t.C:
			now := time.Now()
			r.mini.FastForward(now.Sub(last))
			last = now
		case <-r.stop:
			return
		}
	}
}

// Addr returns the address on which it listens, "" if it does not.
func (r *Redis) Addr() string { return r.addr }

// Options returns the options of a client in this process, which goes through memory and not through a port. The caller may
// change them before use. Their Network is "pipe" where no other process can reach this Redis.
func (r *Redis) Options() *redis.Options {
	opts := &redis.Options{
		Addr:   "embedded",
		Dialer: func(context.Context, string, string) (net.Conn, error) { return r.dial() },
		// A second dial would meet the same end as the first.
		DialerRetries:            1,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if r.addr == "" {
		opts.Network = "pipe"
		// It cannot hang, and what blocks may do so for long.
		opts.ReadTimeout = -1
	}
	return opts
}

func (r *Redis) dial() (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.srv == nil {
		return nil, &net.OpError{Op: "dial", Net: "pipe", Err: net.ErrClosed}
	}
	client, srv := pipe()
	r.srv.ServeConn(srv)
	return client, nil
}

// Close ends it with all connections, and waits for them. What it held is gone. It may be called more than once.
func (r *Redis) Close() {
	r.mu.Lock()
	if r.srv == nil {
		r.mu.Unlock()
		return
	}
	r.srv = nil
	close(r.stop)
	r.mu.Unlock()
	r.done.Wait()

	closed := make(chan struct{})
	go func() {
		defer close(closed)
		r.mini.Close()
	}()
	// miniredis wakes its blocked commands once, without its lock, so one that was just about to sleep would sleep on.
	again := time.NewTicker(tick)
	defer again.Stop()
	for {
		select {
		case <-closed:
			return
		case <-again.C:
			r.mini.FlushAll()
		}
	}
}
