// Package inbox is how a process learns that what it awaits has ended: one subscription, whatever the number of awaits.
//
// Registering interest and looking is one step in Redis (record.Store.Watch), so nothing falls between the two; it goes out for
// everything that waits when a flush starts, and nothing waits for company. Notices wake the waiters, small outcomes inside. A
// notice is a hint that may be lost: every two seconds all that is outstanding is looked at again, in batches, and at once
// after a reconnect. An idle inbox sends nothing.
package inbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/gatherq/gatherq/internal/record"
)

// Timing of an inbox.
const (
	CheckEvery   = 2 * time.Second       // safety check of all that is outstanding; bounds the price of a lost notice
	FirstContact = 5 * time.Second       // patience until Redis' first answer ever
	confirmBy    = time.Second           // a subscription that is not confirmed by then is left to the safety check
	tryAgain     = 50 * time.Millisecond // after a flight of which something got no answer, doubled with each one
	tryAgainLast = time.Second           // but no longer
	closeWithin  = time.Second           // how long Close waits for go-redis to let go
)

// Config is what an inbox needs of its surroundings. All fields but Log are required.
type Config struct {
	Watch   func(ctx context.Context, inbox string, in []record.Interest) (answers []record.Answer, missing []int, err error) // record.Store.WatchOnce
	Open    func(inbox string) Channel                                                                                        // a subscription to the inbox' channel; it connects when it is received from
	Sweep   func(ctx context.Context, group string) error                                                                     // settles a group past its deadline
	Deliver func(ctx context.Context, id string) error                                                                        // delivers the outbox of the shard of id

	LastAnswer func() (time.Time, bool) // of Redis, by any way
	Heard      func()                   // notes an answer that came by the subscription
	Failed     func(error)              // notes that the subscription met an error
	NoAnswer   func(error) bool         // reports whether an error of Watch is that Redis did not answer; it is asked again then
	Ended      func(id string)          // hears of tasks that a notice says have ended; may be nil, must not block nor call the inbox
	Patience   time.Duration            // without an answer, then awaits end with *UnavailableError
	CheckEvery time.Duration            // defaults to CheckEvery
	Log        *slog.Logger
}

// ErrClosed is what awaits end with when the inbox is closed.
var ErrClosed = errors.New("inbox: closed")

// UnavailableError is Redis not answering for longer than the inbox' patience.
type UnavailableError struct {
	For time.Duration
	Err error // what the last try met; may be nil
}

func (e *UnavailableError) Error() string {
	s := fmt.Sprintf("no answer from Redis for %v", e.For.Round(time.Millisecond))
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns what the last try met.
func (e *UnavailableError) Unwrap() error { return e.Err }

// Stats are counters since the start.
type Stats struct {
	Open       int    // interests outstanding
	Lost       uint64 // ends that the safety check found and no notice had told
	Reconnects uint64 // of the subscription
}

// Inbox tells of ends. It is safe for concurrent use, and starts with its first interest.
type Inbox struct {
	cfg    Config
	id     string
	ctx    context.Context //nolint:containedctx // the life of its goroutines
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	wake   chan struct{}
	birth  time.Time

	mu        sync.Mutex
	entries   map[key]*entry
	queue     []*entry // to be looked at with the next flight
	checks    []*entry // to be looked at when the queue is empty
	flight    uint32   // number of the newest
	started   bool
	closed    bool
	listening bool // the subscription was confirmed, or is not worth waiting for
	confirmed bool // it was at least once
	channel   Channel
	notBefore time.Time            // the next flight, after one of which something got no answer
	misses    int                  // such flights in a row
	silent    map[*entry]time.Time // entries whose looks get no answer, and since when
	repairs   map[string]bool      // under way
	suspect   time.Time            // since when the subscription is thought dead, until it is heard again
	lastErr   error
	stats     Stats

	expected     map[string]*expected
	expectations []*expected // as they came; some are met
}

// key is what interests have in common: Redis keeps one registration for each.
type key struct {
	id   string
	view record.View
}

// New returns an inbox with an address of its own. It does nothing before it is asked.
func New(cfg Config) *Inbox {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.CheckEvery = cmp.Or(cfg.CheckEvery, CheckEvery)
	ctx, cancel := context.WithCancel(context.Background())
	return &Inbox{
		cfg: cfg, id: uuid.NewString(), ctx: ctx, cancel: cancel,
		wake: make(chan struct{}, 1), birth: time.Now(), entries: map[key]*entry{}, repairs: map[string]bool{}, silent: map[*entry]time.Time{},
	}
}

// Stats returns the counters.
func (b *Inbox) Stats() Stats {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.stats
	s.Open = len(b.entries)
	return s
}

// Told is how one interest was met.
type Told struct {
	Place  int            // of the interest, as it was named
	Answer *record.Answer // common to all who waited for it: to be read only
	Err    error          // about the waiting: ErrClosed, an *UnavailableError, or an error reply of Redis
}

// Wait blocks until the interest is met, Redis knows nothing of it, or ctx ends; then the error is the context's cause. Other
// errors are those of Told. The answer is to be read only.
//
// An ID that was there while it waited and is gone has ended, with the state lost.
//
// Thousands may wait in a process, and a goroutine's smallest stack is soon full: what Wait calls is cut so that no deep call
// stands on a large frame.
func (b *Inbox) Wait(ctx context.Context, in record.Interest) (*record.Answer, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	told := make(chan Told, 1)
	w := newWaiter(in, 0, told)
	b.add(w)
	select {
	case t := <-told:
		return t.Answer, t.Err
	case <-ctx.Done():
		return b.leave(ctx, w, told)
	}
}

// add makes w wait, or tells it that the inbox is closed.
func (b *Inbox) add(w *waiter) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		w.tell(nil, ErrClosed)
		return
	}
	b.start()
	b.enter(w)
	b.mu.Unlock()
	b.poke()
}

// leave is the end of a wait whose context has ended.
func (b *Inbox) leave(ctx context.Context, w *waiter, told <-chan Told) (*record.Answer, error) {
	b.mu.Lock()
	b.drop(w)
	b.mu.Unlock()
	select {
	case t := <-told: // both at once: the answer counts
		return t.Answer, t.Err
	default:
		return nil, context.Cause(ctx)
	}
}

// Watch tells of each interest once, under its place in places; of several that have ended already in the order of in. told must
// have room for all of them. After stop has returned nothing more is told.
func (b *Inbox) Watch(in []record.Interest, places []int, told chan<- Told) (stop func()) {
	waiters := make([]*waiter, len(in))
	for i := range in {
		waiters[i] = newWaiter(in[i], places[i], told)
		b.add(waiters[i])
	}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, w := range waiters {
			b.drop(w)
		}
	}
}

func (b *Inbox) poke() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// start begins the goroutines with the first interest. The lock is held.
func (b *Inbox) start() {
	if b.started {
		return
	}
	b.started = true
	b.tasks.Go(b.run)
	b.tasks.Go(b.listen)
}

// Close ends all awaits with ErrClosed and lets the subscription go. It does not wait longer than a second for a Redis that
// does not answer.
func (b *Inbox) Close() error {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil
	}
	b.closed = true
	b.cancel()
	channel := b.channel
	for _, e := range b.entries {
		b.tell(e, nil, ErrClosed)
	}
	b.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if channel != nil {
			_ = channel.Close()
		}
		b.tasks.Wait()
	}()
	late := time.NewTimer(closeWithin)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
	}
	return nil
}
