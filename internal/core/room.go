package core

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// fullAt is the part of maxmemory, in percent, above which nothing new is created: what is there needs the rest to end.
	fullAt = 85

	// roomEvery is how old a reading of Redis' memory may be while something is created.
	roomEvery = time.Second

	// roomDenied is how long Redis is not asked again where it does not say.
	roomDenied = time.Minute

	// roomWithin bounds a reading that nobody waits for.
	roomWithin = 5 * time.Second
)

// FullError says that Redis has no room for what is to be created.
type FullError struct{ Used, More, Limit int64 }

func (e *FullError) Error() string {
	return fmt.Sprintf("memory: %d bytes of %d used, %d more to store: nothing is created above %d %% of maxmemory", e.Used, e.Limit, e.More, fullAt)
}

// room is what is known of the fullest Redis server's memory. It is read while something is created, and not otherwise.
type room struct {
	mu     sync.Mutex
	used   int64
	limit  int64     // 0: none, or not known
	since  int64     // bytes that were let in since the reading
	read   time.Time // zero: never
	wait   time.Duration
	asking bool
}

// learn takes in a reading: of several servers that of the fullest.
func (r *room) learn(servers []Server) {
	var used, limit int64
	known := false
	for _, s := range servers {
		u, ok1 := s.Number("used_memory")
		l, ok2 := s.Number("maxmemory")
		if !ok1 || !ok2 {
			continue
		}
		known = true
		not, _ := s.Number("mem_not_counted_for_evict") // buffers, which Redis does not count either
		if u -= not; l > 0 && (limit == 0 || float64(u)/float64(l) > float64(used)/float64(limit)) {
			used, limit = u, l
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used, r.limit, r.since, r.read, r.wait = used, limit, 0, time.Now(), roomEvery
	if !known {
		r.wait = roomDenied
	}
}

// admit decides by the last reading. stale says that it is too old; ask, that the caller is to see to a new one.
func (r *room) admit(bytes int64) (err error, stale, ask bool) { //nolint:revive // the error is the answer here
	r.mu.Lock()
	defer r.mu.Unlock()
	if stale = r.read.IsZero() || time.Since(r.read) >= r.wait; stale && !r.asking {
		r.asking, ask = true, true
	}
	if r.limit > 0 && (r.used+r.since+bytes)*100 > r.limit*fullAt {
		return &FullError{Used: r.used + r.since, More: bytes, Limit: r.limit}, stale, ask
	}
	r.since += bytes
	return nil, stale, ask
}

func (r *room) asked() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asking = false
}

// exact is from how many bytes on it is worth a trip to know Redis' memory as it is now.
const exact = 1 << 20

// Room asks whether Redis has room for so many bytes more. Its memory is read once a second while this is asked: mostly in the
// background, by the last reading it is decided; where that one says no, or much is to come, an old one does not count. The error is
// a *FullError or that of Redis. What Redis does not say is no error: it refuses by itself what it has no memory for at all.
func (e *Engine) Room(ctx context.Context, bytes int64) error {
	if e.conn.Private() {
		return nil // it has no limit
	}
	full, stale, ask := e.room.admit(bytes)
	if !stale || full == nil && bytes < exact {
		if ask {
			go func() {
				ctx, stop := context.WithTimeout(e.life, roomWithin)
				defer stop()
				_ = e.weigh(ctx)
			}()
		}
		return full
	}
	if err := e.weigh(ctx); err != nil {
		return err
	}
	full, _, _ = e.room.admit(bytes)
	return full
}

// weigh reads Redis' memory.
func (e *Engine) weigh(ctx context.Context) error {
	defer e.room.asked()
	servers, err := e.servers(ctx, "memory")
	if err != nil {
		return err
	}
	e.room.learn(servers)
	return nil
}
