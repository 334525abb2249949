// Package worker runs tasks: it takes what a delivery names, runs the handlers under slots, and tells the record how each
// ended. It knows nothing of handlers' types; who registers them encodes and decodes.
package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/record"
)

// Records is what the executor needs of record.Store.
type Records interface {
	Claim(ctx context.Context, worker, nonce string, refs ...record.Ref) ([]record.Claim, error)
	Settle(ctx context.Context, worker string, ref record.Ref, out record.Outcome) (record.Settled, error)
	Retry(ctx context.Context, worker string, ref record.Ref, f *record.Failure, delay time.Duration) (record.Settled, error)
	GiveBack(ctx context.Context, worker string, ref record.Ref, delay time.Duration, unknownType bool) (record.Settled, error)
	Flags(ctx context.Context, worker string, refs ...record.Ref) ([]record.Flag, error)
	// Begin is called before the handler of a suspect; false: it is in other hands.
	Begin(ctx context.Context, worker string, ref record.Ref) (bool, error)
}

// Groups is what it needs of group.Store.
type Groups interface {
	// Next settles done, if there is any, and pulls.
	Next(ctx context.Context, worker string, t record.Ticket, nonce string, want, share int, done *group.Ends) (group.Pull, record.Settled, error)
	Settle(ctx context.Context, ends *group.Ends) (record.Settled, error)
	Leave(ctx context.Context, worker string, r *group.Range, index int, f *record.Failure, delay time.Duration) (record.Settled, error)
	Apart(ctx context.Context, worker string, r *group.Range, index int) (record.Settled, error)
	ReturnRange(ctx context.Context, worker string, r *group.Range, indexes []int) (record.Settled, error)
	PassTicket(ctx context.Context, worker string, t record.Ticket) (record.Settled, error)
	YieldTicket(ctx context.Context, worker string, t record.Ticket, deliveries, workers int) (kept bool, passed record.Settled, err error)
	// Flags answers one for each range.
	Flags(ctx context.Context, worker string, ranges ...*group.Range) ([]group.RangeFlag, error)
}

// Carrier is what it needs of the carrier.
type Carrier interface {
	// HandOver enqueues deliveries that records wait for, and marks them. What fails is enqueued later by the fleet's promoter.
	HandOver(ctx context.Context, h ...record.HandOver) error
	// HandBack enqueues a delivery that nobody claimed again.
	HandBack(ctx context.Context, h record.HandOver) error
	// Waiting returns how many deliveries of a queue wait for a worker, and how many other workers, with a slot free, for a delivery.
	Waiting(ctx context.Context, queue string) (deliveries, workers int, err error)
}

// Config configures a Worker. All fields are needed.
type Config struct {
	ID       string // of this worker: names it to records
	Slots    *Slots // shared with the gate, which takes one before it asks for a delivery
	Records  Records
	Groups   Groups
	Carrier  Carrier
	Handlers map[string]Handler // by type; not changed any more
	Causes   Causes

	MaxResult       int           // bytes of a result
	Drain           time.Duration // how long running handlers may go on
	UnknownTypeWait time.Duration
	// Known reports whether a live worker of the queue knows the type.
	Known func(ctx context.Context, queue, typ string) (bool, error)
	// Outbox is told that an end of the task or group with that ID waits to be told to others. It must not block.
	Outbox func(id string)
	// Redis returns what Redis' clock showed, as far as it is known here, when ours showed local.
	Redis func(local time.Time) time.Time
	Log   *slog.Logger
}

// Worker is the executor of one process. Deliver gives it work; Drain ends it.
type Worker struct {
	cfg       Config
	sizes     *sizer
	runs      runs
	suspects  suspects
	pool      *pool
	blobs     sync.Map // options by their stored form, at most maxBlobs
	blobCount atomic.Int64
	base      context.Context //nolint:containedctx // what handlers' contexts derive from
	life      context.Context //nolint:containedctx // ends when nothing is told to Redis any more
	kill      context.CancelFunc
	pull      context.Context //nolint:containedctx // ends when nothing new is taken
	stop      context.CancelFunc
	wg        sync.WaitGroup // everything that a drain must wait for: pumps, runs, and telling the record
	closed    sync.Mutex     // Deliver adds to wg only while not stopping
	aborts    chan struct{}
	once      sync.Once

	count    counts
	untold   atomic.Int64 // tasks and tickets held here whose end or return Redis refused for good
	waiting  waitingCache
	arrivals arrivals
}

// New returns a worker. Base is what the handlers' contexts derive from; its end does not touch them.
func New(base context.Context, cfg Config) *Worker {
	w := &Worker{cfg: cfg, sizes: newSizer(), suspects: newSuspects(), base: context.WithoutCancel(base), aborts: make(chan struct{})}
	w.life, w.kill = context.WithCancel(conn.Patient(context.WithoutCancel(base)))
	w.pull, w.stop = context.WithCancel(w.life)
	w.pool = newPool(w.life.Done())
	return w
}

// Draining reports whether nothing new is taken any more.
func (w *Worker) Draining() bool { return w.pull.Err() != nil }

// enter makes a drain wait for what is begun until leave is called; false when nothing may begin any more.
func (w *Worker) enter() bool {
	w.closed.Lock()
	defer w.closed.Unlock()
	if w.Draining() {
		return false
	}
	w.wg.Add(1)
	return true
}

// firstTell and lastTell bound the pauses between tries to reach Redis.
const (
	firstTell = 20 * time.Millisecond
	lastTell  = 2 * time.Second
	refusals  = 10 // error replies that repeating cannot mend, after which a call is given up: the record's repairs take over
)

// temporary reports whether an error reply is about memory or rights, which operators mend while workers run: the call was
// not executed, and what it has to say is still true then.
func temporary(err error) bool {
	for _, prefix := range []string{"NOAUTH", "NOPERM", "WRONGPASS"} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	// Inside a script's error these may stand anywhere; the rights of a script are told without NOPERM.
	for _, part := range []string{"OOM command", "ACL failure in script", "The user executing the script can't"} {
		if strings.Contains(err.Error(), part) {
			return true
		}
	}
	return false
}

// tell repeats a call until Redis has answered it, or the worker's life ends. All scripts may run twice.
func (w *Worker) tell(what, id string, call func(ctx context.Context) error) error {
	return w.tellWithin(w.life, what, id, call)
}

// tellWithin is tell for what must be said when the worker's life is over, too.
func (w *Worker) tellWithin(ctx context.Context, what, id string, call func(ctx context.Context) error) error {
	pause, refused := firstTell, 0
	for {
		err := call(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		if _, silent := errors.AsType[*conn.Error](err); !silent && !temporary(err) {
			if refused++; refused == refusals {
				w.cfg.Log.Error("redis keeps refusing", "op", what, "task_id", id, "err", err)
				return fmt.Errorf("%s %s: %w", what, id, err)
			}
		}
		w.cfg.Log.Warn("redis did not take it, trying again", "op", what, "task_id", id, "err", err)
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-ctx.Done():
		}
		pause = min(2*pause, lastTell)
	}
}

// follow does what a change asks for: enqueue a hand-over, tell the outbox.
func (w *Worker) follow(id string, s record.Settled) {
	if s.Outbox {
		w.cfg.Outbox(id)
	}
	if s.HandOver != nil {
		w.handOver(*s.HandOver)
	}
	w.goOn(s.Others)
}

func (w *Worker) handOver(hs ...record.HandOver) {
	if len(hs) == 0 {
		return
	}
	if err := w.cfg.Carrier.HandOver(w.life, hs...); err != nil {
		w.cfg.Log.Warn("could not enqueue; the fleet will", "queue", hs[0].Queue, "deliveries", len(hs), "err", err)
	}
}

// options decodes the options of a task; most tasks share a few forms.
func (w *Worker) options(blob []byte) record.Options {
	if len(blob) == 0 {
		return record.Options{}
	}
	if o, ok := w.blobs.Load(string(blob)); ok {
		return o.(record.Options)
	}
	o, err := record.DecodeOptions(blob)
	if err != nil {
		w.cfg.Log.Error("undecodable options in a record, defaults hold", "err", err)
	}
	if w.blobCount.Add(1) <= maxBlobs {
		w.blobs.Store(string(blob), o)
	}
	return o
}

// maxBlobs bounds the decoded options that are kept.
const maxBlobs = 1000
