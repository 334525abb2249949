package conn

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// Flights. What waits when a pipeline leaves goes with it; nothing waits for company. A few may be under way at a time, each
// on a connection of the caller's pool.
const (
	flights     = 3                     // under way at a time
	flightCalls = 512                   // in one
	flightBytes = 256 << 10             // of arguments in one
	bulkBytes   = 64 << 10              // from these on calls travel by themselves, so that small ones do not wait behind them
	stuckAfter  = 20 * time.Millisecond // then a flight does not count any more: a server that is silent must not hold up others
	mergeItems  = 64                    // calls of one script in one command
	mergeBytes  = 128 << 10             // of their arguments
)

// parcel is the calls of one Do on their way, in their order, for one try.
type parcel struct {
	calls  []*Call // the Do's own copies
	whole  bool    // scripts are sent with their text
	apart  bool    // calls are not merged
	spread bool    // over a cluster
	bytes  int
	state  parcelState // guarded by departures.mu
	done   chan struct{}
}

type parcelState byte

const (
	parcelWaits parcelState = iota
	parcelFlies
	parcelBack // taken back before it left
)

// departures sends parcels. It is safe for concurrent use.
type departures struct {
	rdb redis.UniversalClient

	mu     sync.Mutex
	queue  []*parcel
	flying map[*flight]struct{} // those that count
	timer  *time.Timer          // runs while something waits
}

type flight struct{ since time.Time }

// send sends a parcel with the next flight, and closes its done when it has landed.
func (d *departures) send(p *parcel) {
	if p.bytes >= bulkBytes {
		p.state = parcelFlies
		go d.carry([]*parcel{p})
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.queue = append(d.queue, p)
	d.depart()
}

// recall takes a parcel back that has not left; false if it has.
func (d *departures) recall(p *parcel) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.state == parcelWaits {
		p.state = parcelBack
	}
	return p.state == parcelBack
}

// depart starts a flight where one may. The caller holds mu.
func (d *departures) depart() {
	if len(d.flying) >= flights {
		if d.timer == nil {
			d.timer = time.AfterFunc(stuckAfter, d.unstick)
		}
		return
	}
	batch := d.take()
	if len(batch) == 0 {
		return
	}
	f := &flight{since: time.Now()}
	if d.flying == nil {
		d.flying = make(map[*flight]struct{}, flights)
	}
	d.flying[f] = struct{}{}
	go d.fly(f, batch)
}

// take takes what fits into a flight off the queue. The caller holds mu.
func (d *departures) take() (batch []*parcel) {
	calls, bytes, n := 0, 0, 0
	for _, p := range d.queue {
		if p.state == parcelWaits {
			if len(batch) > 0 && (calls+len(p.calls) > flightCalls || bytes+p.bytes > flightBytes) {
				break
			}
			p.state = parcelFlies
			batch = append(batch, p)
			calls += len(p.calls)
			bytes += p.bytes
		}
		n++
	}
	if d.queue = d.queue[n:]; len(d.queue) == 0 {
		d.queue = nil
		if d.timer != nil {
			d.timer.Stop()
			d.timer = nil
		}
	}
	return batch
}

// fly carries parcels as long as some wait.
func (d *departures) fly(f *flight, batch []*parcel) {
	for {
		d.carry(batch)
		d.mu.Lock()
		if _, counts := d.flying[f]; !counts {
			d.mu.Unlock()
			return
		}
		if batch = d.take(); len(batch) == 0 {
			delete(d.flying, f)
			d.mu.Unlock()
			return
		}
		f.since = time.Now()
		d.mu.Unlock()
	}
}

// unstick lets others leave while a flight gets no answer.
func (d *departures) unstick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.timer = nil
	for f := range d.flying {
		if time.Since(f.since) >= stuckAfter {
			delete(d.flying, f)
		}
	}
	for len(d.queue) > 0 && len(d.flying) < flights {
		d.depart()
	}
	if len(d.queue) > 0 && d.timer == nil {
		d.timer = time.AfterFunc(stuckAfter, d.unstick)
	}
}

// carry sends parcels in one pipeline and puts the answers into their calls.
func (d *departures) carry(batch []*parcel) {
	// The flight is nobody's in particular: whoever's context ends leaves it, and it goes on.
	ctx := context.Background()
	cmds := compose(ctx, batch)
	if len(cmds) == 1 {
		_ = d.rdb.Process(ctx, cmds[0].cmd)
	} else {
		pipe := d.rdb.Pipeline()
		for _, c := range cmds {
			_ = pipe.Process(ctx, c.cmd)
		}
		_, _ = pipe.Exec(ctx)
	}
	for _, c := range cmds {
		c.deal()
	}
	for _, p := range batch {
		close(p.done)
	}
}
