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

// queue is parcels that have not left, in their order. Who has it guards it, and the states of its parcels, with one mutex.
type queue []*parcel

// take takes what fits into one pipeline off the queue.
func (q *queue) take() (batch []*parcel) {
	calls, bytes, n := 0, 0, 0
	for _, p := range *q {
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
	if *q = (*q)[n:]; len(*q) == 0 {
		*q = nil
	}
	return batch
}

// recall takes the parcel back if it has not left; false if it has.
func (p *parcel) recall() bool {
	if p.state == parcelWaits {
		p.state = parcelBack
	}
	return p.state == parcelBack
}

// departures sends parcels. It is safe for concurrent use.
type departures struct {
	rdb redis.UniversalClient

	mu     sync.Mutex
	queue  queue
	flying map[*flight]struct{} // those that count
	timer  *time.Timer          // runs while something waits
}

type flight struct{ since time.Time }

// send sends a parcel with the next flight, and closes its done when it has landed. Where along is set the caller has time until then:
// if the parcel leaves at once, the flight is in the caller's goroutine, which spares two hand-overs between goroutines.
func (d *departures) send(p *parcel, along bool) {
	if p.bytes >= bulkBytes {
		p.state = parcelFlies
		d.begin(along, func() { d.carry([]*parcel{p}) })
		return
	}
	d.mu.Lock()
	d.queue = append(d.queue, p)
	fly := d.depart()
	d.mu.Unlock()
	if fly != nil {
		d.begin(along, fly)
	}
}

func (*departures) begin(along bool, fly func()) {
	if along {
		fly()
	} else {
		go fly()
	}
}

// recall takes a parcel back that has not left; false if it has.
func (d *departures) recall(p *parcel) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return p.recall()
}

// depart returns the flight that is to begin, nil where none may. The caller holds mu.
func (d *departures) depart() (fly func()) {
	if len(d.flying) >= flights {
		if d.timer == nil {
			d.timer = time.AfterFunc(stuckAfter, d.unstick)
		}
		return nil
	}
	batch := d.take()
	if len(batch) == 0 {
		return nil
	}
	f := &flight{since: time.Now()}
	if d.flying == nil {
		d.flying = make(map[*flight]struct{}, flights)
	}
	d.flying[f] = struct{}{}
	return func() { d.fly(f, batch) }
}

// take takes what fits into a flight off the queue. The caller holds mu.
func (d *departures) take() []*parcel {
	batch := d.queue.take()
	if len(d.queue) == 0 && d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	return batch
}

// fly carries parcels. While some wait others carry on: who began has theirs.
func (d *departures) fly(f *flight, batch []*parcel) {
	d.carry(batch)
	if batch = d.next(f); len(batch) > 0 {
		go func() {
			for ; len(batch) > 0; batch = d.next(f) {
				d.carry(batch)
			}
		}()
	}
}

// next takes what a flight that has landed carries then; nothing where it is over.
func (d *departures) next(f *flight) (batch []*parcel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, counts := d.flying[f]; !counts {
		return nil
	}
	if batch = d.take(); len(batch) == 0 {
		delete(d.flying, f)
	}
	f.since = time.Now()
	return batch
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
		if fly := d.depart(); fly != nil {
			go fly()
		}
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
		_ = exec(ctx, pipe, cmds)
	}
	for _, c := range cmds {
		c.deal()
	}
	for _, p := range batch {
		close(p.done)
	}
}
