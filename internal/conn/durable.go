package conn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Policy says when what a call wrote counts as durable. The zero value: as soon as the master has executed it.
type Policy struct {
	Replicas int           // after so many replicas have it
	Fsync    bool          // after the master's append-only file has been synced
	Within   time.Duration // bound of either; more than 0 where there is one
}

func (p Policy) local() bool { return p.Replicas == 0 && !p.Fsync }

// ShortError says that a write was executed, and that its Policy was not confirmed within the bound.
type ShortError struct {
	Policy Policy
	Have   int64 // replicas that have it, or synced files
	Err    error // there was no answer, or an error in place of one
}

func (e *ShortError) Error() string {
	switch {
	case e.Err != nil:
		return fmt.Sprintf("stored, and whether it is durable is not known: %v", e.Err)
	case e.Policy.Fsync:
		return fmt.Sprintf("stored, and not synced to disk within %s", e.Policy.Within)
	}
	return fmt.Sprintf("stored, on %d replicas of %d within %s", e.Have, e.Policy.Replicas, e.Policy.Within)
}

// Unwrap returns what came in place of an answer, if anything.
func (e *ShortError) Unwrap() error { return e.Err }

// confirmer sends parcels whose calls are to be durable (decision 17), outside the flights: WAIT and WAITAOF speak of what their own
// connection has written, and of that alone, so each such parcel goes over a connection that one goroutine has for itself from the
// write to its confirmation. Meanwhile other parcels leave with another connection: at any time one writes, and up to
// confirming wait. Where all do, the one that writes goes on writing, and one confirmation holds for all of it. So what is slow to
// confirm delays creations alone, which wait for it, and holds few connections.
type confirmer struct {
	rdb    redis.UniversalClient
	policy Policy
	short  atomic.Uint64 // outcomes that were not confirmed in time

	mu      sync.Mutex
	queue   queue
	writing bool          // a goroutine takes from the queue
	waiting int           // goroutines that wait for a confirmation
	stir    chan struct{} // holds one: something has come, or somebody waits no more
}

// confirming is how many connections may wait for confirmations at a time.
const confirming = 3

func newConfirmer(rdb redis.UniversalClient, p Policy) *confirmer {
	return &confirmer{rdb: rdb, policy: p, stir: make(chan struct{}, 1)}
}

// concerns reports whether a parcel is to be confirmed.
func (d *confirmer) concerns(p *parcel) bool {
	if d == nil {
		return false
	}
	for _, call := range p.calls {
		if call.Confirm || call.Ends > 0 {
			return true
		}
	}
	return false
}

// send sends a parcel, and closes its done when all is answered and, where a call says so, confirmed.
func (d *confirmer) send(p *parcel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, p)
	if !d.writing {
		d.writing = true
		go d.write()
	}
	d.wake()
}

// recall takes a parcel back that has not left; false if it has.
func (d *confirmer) recall(p *parcel) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return p.recall()
}

func (d *confirmer) wake() {
	select {
	case d.stir <- struct{}{}:
	default:
	}
}

// write writes what is in the queue, until it may wait for the confirmation of that; then it lets another one write.
func (d *confirmer) write() {
	j := &journey{d: d, sides: map[*redis.Client]*side{}}
	defer j.end()
	for {
		d.mu.Lock()
		batch := d.queue.take()
		d.mu.Unlock()
		if len(batch) > 0 {
			j.carry(batch)
		}
		d.mu.Lock()
		if j.broken() || d.waiting < confirming {
			d.waiting++
			if d.writing = len(d.queue) > 0; d.writing {
				go d.write()
			}
			d.mu.Unlock()
			j.confirm()
			d.mu.Lock()
			d.waiting--
			d.wake()
			d.mu.Unlock()
			return
		}
		idle := len(d.queue) == 0
		d.mu.Unlock()
		if idle {
			<-d.stir
		}
	}
}

// journey is what one goroutine has written, and the connections that it did so over.
type journey struct {
	d       *confirmer
	sides   map[*redis.Client]*side // by master; one where there is no cluster
	parcels []*parcel               // that wait for the confirmation
}

// side is a connection to one master.
type side struct {
	conn *redis.Conn
	cmds []*command // answered ones, of calls that wait for the confirmation
	ends int        // outcomes written
	key  string     // one that lives there
	err  error      // the connection is lost: nothing that it carried can be confirmed any more
}

// carry sends parcels and puts the answers into their calls. Those that do not wait for the confirmation are done then.
func (j *journey) carry(batch []*parcel) {
	ctx := context.Background()
	var wg sync.WaitGroup
	for s, cmds := range j.split(ctx, compose(ctx, batch)) {
		wg.Go(func() { s.carry(ctx, cmds) })
	}
	wg.Wait()
	if cluster, ok := j.d.rdb.(*redis.ClusterClient); ok && moved(batch) {
		cluster.ReloadState(ctx)
	}
	for _, p := range batch {
		waits := false
		for _, call := range p.calls {
			waits = waits || call.Confirm && call.Err == nil
		}
		if waits {
			j.parcels = append(j.parcels, p)
		} else {
			close(p.done)
		}
	}
}

// split says which master each command goes to. What none can be found for is answered so.
func (j *journey) split(ctx context.Context, cmds []*command) map[*side][]*command {
	out := make(map[*side][]*command, 1)
	for _, c := range cmds {
		key := c.key()
		client, err := j.d.master(ctx, key)
		if err != nil {
			c.answer(nil, err)
			continue
		}
		s := j.sides[client]
		if s == nil {
			s = &side{conn: client.WithTimeout(patient(client, j.d.policy.Within)).Conn(), key: key}
			j.sides[client] = s
		}
		out[s] = append(out[s], c)
	}
	return out
}

// master returns the client of the master that has a key.
func (d *confirmer) master(ctx context.Context, key string) (*redis.Client, error) {
	switch rdb := d.rdb.(type) {
	case *redis.Client:
		return rdb, nil
	case *redis.ClusterClient:
		return rdb.MasterForKey(ctx, key)
	}
	return nil, fmt.Errorf("a %T keeps no connection from a write to its confirmation", d.rdb)
}

// patient is the read time-out of a client with that much more, in which Redis may be silent.
func patient(c *redis.Client, within time.Duration) time.Duration {
	if limit := c.Options().ReadTimeout; limit > 0 {
		return limit + within
	}
	return 0
}

// key returns the key that says where a command goes.
func (c *command) key() string {
	head := c.calls[0]
	if head.Joined != nil {
		head = head.Joined
	}
	switch {
	case head.Script != nil && len(head.Keys) > 0:
		return head.Keys[0]
	case len(head.Args) > 1:
		return fmt.Sprint(head.Args[1])
	}
	return ""
}

// moved reports whether Redis named another server than the one asked.
func moved(batch []*parcel) bool {
	for _, p := range batch {
		for _, call := range p.calls {
			if call.Err != nil && (redis.HasErrorPrefix(call.Err, "MOVED") || redis.HasErrorPrefix(call.Err, "ASK")) {
				return true
			}
		}
	}
	return false
}

func (s *side) carry(ctx context.Context, cmds []*command) {
	pipe := s.conn.Pipeline()
	for _, c := range cmds {
		_ = pipe.Process(ctx, c.cmd)
	}
	if err := exec(ctx, pipe, cmds); err != nil && !isReply(err) && !errors.Is(err, redis.Nil) {
		s.err = err
	}
	for _, c := range cmds {
		c.deal()
		waits := false
		for _, call := range c.calls {
			if call.Err == nil {
				s.ends += call.Ends
				waits = waits || call.Confirm
			}
		}
		if waits {
			s.cmds = append(s.cmds, c)
		}
	}
}

// broken reports whether a connection is lost: who waits for its confirmation need not wait longer.
func (j *journey) broken() bool {
	for _, s := range j.sides {
		if s.err != nil {
			return true
		}
	}
	return false
}

// confirm waits until what was written is durable, or the bound is over, and says so to those that wait.
func (j *journey) confirm() {
	var wg sync.WaitGroup
	for _, s := range j.sides {
		wg.Go(func() {
			if len(s.cmds) == 0 && s.ends == 0 {
				return // nothing was written
			}
			if err := s.confirm(j.d.policy); err != nil {
				j.d.short.Add(uint64(s.ends))
				for _, c := range s.cmds {
					for _, call := range c.calls {
						if call.Confirm && call.Err == nil {
							call.Short = err
						}
					}
				}
			}
		})
	}
	wg.Wait()
	for _, p := range j.parcels {
		close(p.done)
	}
}

// fence is a write that leaves nothing. From Redis 7.2 on WAIT and WAITAOF speak of the last command of their connection that wrote
// something, so that behind a creation that found its record there, or a call that was answered once more, they would confirm what may be
// nowhere else. Behind the fence they speak of everything that this master has executed so far.
const fence = shebang + "redis.call('set', KEYS[1], '', 'px', 60000) return redis.call('del', KEYS[1])"

// confirm asks on the connection that wrote.
func (s *side) confirm(p Policy) error {
	if s.err != nil {
		return &ShortError{Policy: p, Err: s.err}
	}
	ctx := context.Background()
	within := max(p.Within.Milliseconds(), 1) // 0 would be for ever
	wall := newNoRetry(ctx, "eval", fence, 1, s.key+"fence")
	wait := newNoRetry(ctx, "wait", p.Replicas, within)
	if p.Fsync {
		wait = newNoRetry(ctx, "waitaof", 1, 0, within)
	}
	pipe := s.conn.Pipeline()
	_, _ = pipe.Process(ctx, wall), pipe.Process(ctx, wait)
	_, _ = pipe.Exec(ctx)
	if err := errors.Join(wall.Err(), wait.Err()); err != nil {
		return &ShortError{Policy: p, Err: err}
	}
	reply, need := wait.Val(), int64(p.Replicas)
	if p.Fsync {
		need = 1
		if both, ok := reply.([]any); ok && len(both) == 2 {
			reply = both[0] // the master's own file
		}
	}
	if have, ok := reply.(int64); !ok || have < need {
		return &ShortError{Policy: p, Have: have}
	}
	return nil
}

// end gives the connections back to their pools.
func (j *journey) end() {
	for _, s := range j.sides {
		_ = s.conn.Close()
	}
}
