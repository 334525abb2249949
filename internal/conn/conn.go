// Package conn carries scripts and commands to Redis and says honestly what became of them.
//
// go-redis sends a command again after a lost reply without telling; here every command is sent with its retries switched off
// (NoRetry, honoured by go-redis alone and in pipelines), and Do repeats what may be repeated and remembers whether
// something may have been executed. Do returns at the end of its context, also while Redis accepts and never answers.
package conn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
)

// Limits of Do's own patience where the context has no end.
const (
	FirstContact = 5 * time.Second  // until the first answer ever
	Patience     = 30 * time.Second // after that, also for LOADING, READONLY and the like
)

// Error is a failure to get an answer from Redis.
type Error struct {
	Doubt bool // something of the call may have been executed
	Err   error
}

func (e *Error) Error() string {
	if e.Doubt {
		return fmt.Sprintf("redis did not answer: %v", e.Err)
	}
	return fmt.Sprintf("redis is not reachable: %v", e.Err)
}

// Unwrap returns what the last try met, or the cause of the context's end.
func (e *Error) Unwrap() error { return e.Err }

// Conn is a Redis client with honest retries. It is safe for concurrent use.
type Conn struct {
	rdb     redis.UniversalClient
	cluster *redis.ClusterClient // rdb, where it is one
	log     *slog.Logger

	departures departures
	confirmer  *confirmer // nil: nothing is to be confirmed

	answered atomic.Int64 // monotonic time of the last answer, see LastAnswer; 0: never
	heard    atomic.Bool  // it has said something, if only that it cannot now
	retries  atomic.Uint64
	reloads  atomic.Uint64
	start    time.Time
}

// New returns a Conn over rdb, which stays the caller's.
func New(rdb redis.UniversalClient, log *slog.Logger) *Conn {
	cluster, _ := rdb.(*redis.ClusterClient)
	return &Conn{rdb: rdb, cluster: cluster, log: log, start: time.Now(), departures: departures{rdb: rdb}}
}

// NewDurable is New with a policy for the calls that ask for one: Call.Confirm and Call.Ends.
func NewDurable(rdb redis.UniversalClient, log *slog.Logger, p Policy) *Conn {
	c := New(rdb, log)
	if !p.local() {
		c.confirmer = newConfirmer(rdb, p)
	}
	return c
}

// Redis returns the client underneath, for subscriptions and for asynq.
func (c *Conn) Redis() redis.UniversalClient { return c.rdb }

// Private reports whether Redis lies inside this process and no other can reach it, so that nothing happens in it unheard. Loops
// that only look for what was lost may be slow then: in tests with virtual time days pass by.
func (c *Conn) Private() bool {
	client, ok := c.rdb.(*redis.Client)
	return ok && client.Options().Network == "pipe"
}

// LastAnswer returns when Redis last answered anything, and false if it never did. That it cannot now (READONLY, LOADING) is no answer: there may
// never be one.
func (c *Conn) LastAnswer() (time.Time, bool) {
	n := c.answered.Load()
	return c.start.Add(time.Duration(n)), n != 0
}

// Answered notes an answer that came by another way, say a subscription.
func (c *Conn) Answered() { c.answered.Store(int64(max(time.Since(c.start), 1))) }

// Failed notes that a command met err, which is no answer or one that says "not now". go-redis' client of a cluster goes by the masters that it has
// read, reads them again once a minute, and where a node sends it elsewhere: one that is dead sends it nowhere. So it is told to look.
func (c *Conn) Failed(err error) {
	if c.cluster != nil && (!isReply(err) || Passing(err)) {
		c.cluster.ReloadState(context.Background()) // which it does apart, and not twice at a time
	}
}

// Stats are counters since the start.
type Stats struct {
	Retries uint64 // sends that were repeated, since Redis did not answer or answered that it cannot now
	Reloads uint64 // sends that were repeated with their scripts' text, which Redis did not have
	Short   uint64 // outcomes (Call.Ends) that were not confirmed in time
}

// Stats returns the counters.
func (c *Conn) Stats() Stats {
	s := Stats{Retries: c.retries.Load(), Reloads: c.reloads.Load()}
	if c.confirmer != nil {
		s.Short = c.confirmer.short.Load()
	}
	return s
}

// Do sends the calls in one pipeline and waits for all answers. A nil error means that every call was answered; what a call
// itself got is in its Reply or Err (an error reply of Redis, not a failure to reach it). Otherwise the error is an *Error and
// calls without an answer have it as their Err, too.
func (c *Conn) Do(ctx context.Context, calls ...*Call) error {
	return c.do(ctx, trip{}, calls)
}

// Once is Do for who asks again by itself: it comes back as soon as some of the calls have got no answer, and Unanswered tells which.
func (c *Conn) Once(ctx context.Context, calls ...*Call) error {
	return c.do(ctx, trip{once: true}, calls)
}

// DoWithin is Do for what is stale after a while: it is not sent again any more then. An answer that is on its way is waited for until the
// context ends.
func (c *Conn) DoWithin(ctx context.Context, while time.Duration, calls ...*Call) error {
	return c.do(ctx, trip{while: while}, calls)
}

// Unanswered reports whether Redis has not answered the call, after Do or Once.
func (c *Call) Unanswered() bool {
	_, is := errors.AsType[*Error](c.Err)
	return is
}

func (c *Conn) do(ctx context.Context, t trip, calls []*Call) error {
	if len(calls) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return c.fail(calls, &Error{Err: context.Cause(ctx)})
	}
	// What travels are copies: a flight goes on when its caller has left, and is not to be looked at any more.
	t.work = make([]Call, len(calls))
	for i, call := range calls {
		t.work[i] = *call
		t.work[i].Reply, t.work[i].Err, t.work[i].Again = nil, errNoAnswer, false
		t.work[i].Short = nil
		t.work[i].measure()
	}
	err := c.travel(ctx, &t)
	if t.left {
		return c.fail(calls, err)
	}
	for i := range calls {
		if err != nil && errors.Is(t.work[i].Err, errNoAnswer) {
			t.work[i].Err = err
		}
		calls[i].Reply, calls[i].Err, calls[i].Again = t.work[i].Reply, t.work[i].Err, t.work[i].Again
		calls[i].Try = t.work[i].Try
		calls[i].Joined, calls[i].Short = t.work[i].Joined, t.work[i].Short
	}
	if err != nil {
		return err
	}
	return nil
}

type patientKey struct{}

// Patient returns a context whose end Do may notice as late as the client's own time-outs let it: for who has nothing else to do
// than to wait for the answer. It spares Do two hand-overs between goroutines.
func Patient(ctx context.Context) context.Context { return context.WithValue(ctx, patientKey{}, true) }

// All is Do for calls that must all succeed: an error reply to one of them is its error, too.
func (c *Conn) All(ctx context.Context, calls ...*Call) error {
	if err := c.Do(ctx, calls...); err != nil {
		return err
	}
	for _, call := range calls {
		if call.Err != nil {
			return call.Err
		}
	}
	return nil
}

var errNoAnswer = errors.New("no answer yet")

func (c *Conn) fail(calls []*Call, err *Error) error {
	for _, call := range calls {
		call.Err = err
	}
	return err
}

// trip is the state of one Do.
type trip struct {
	work  []Call
	once  bool          // what gets no answer is not sent again
	while time.Duration // so long it is; 0: as long as Do's patience lasts
	doubt bool          // something may have been executed
	left  bool          // a flight that is still under way has the work
}

// travel sends the calls until all are answered.
func (c *Conn) travel(ctx context.Context, t *trip) *Error {
	begin := time.Now()
	p := &parcel{}
	for try := 0; ; try++ {
		p = &parcel{calls: t.open(try), whole: p.whole, apart: p.apart, spread: c.cluster != nil, done: make(chan struct{})}
		for _, call := range p.calls {
			p.bytes += call.size
		}
		recall := c.departures.recall
		if c.confirmer.concerns(p) {
			recall = c.confirmer.recall
			c.confirmer.send(p)
		} else {
			c.departures.send(p, ctx.Done() == nil || ctx.Value(patientKey{}) != nil)
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			select {
			case <-p.done: // both at once: the answer counts
			default:
				t.left = !recall(p)
				return &Error{Doubt: t.doubt || t.left, Err: context.Cause(ctx)}
			}
		}
		last := c.judge(t, p)
		switch {
		case last == nil:
			return nil
		case noScript(last): // with its text, at once
			c.reloads.Add(1)
			continue
		case errors.Is(last, errApart): // alone, at once
			continue
		case ctx.Err() != nil:
			return &Error{Doubt: t.doubt, Err: context.Cause(ctx)}
		case t.once:
			return &Error{Doubt: t.doubt, Err: last}
		case time.Since(begin) > cmp.Or(t.while, c.patience()):
			return &Error{Doubt: t.doubt, Err: last}
		}
		c.retries.Add(1)
		pause := time.NewTimer(rand.N(min(10*time.Millisecond<<min(try, 7), time.Second)) + time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return &Error{Doubt: t.doubt, Err: context.Cause(ctx)}
		}
	}
}

// patience is how long calls are sent again: a Redis that says that it is not ready is one that answers.
func (c *Conn) patience() time.Duration {
	if !c.heard.Load() {
		return FirstContact
	}
	return Patience
}

// open returns the calls without an answer, in their order.
func (t *trip) open(try int) (open []*Call) {
	open = make([]*Call, 0, len(t.work))
	for i := range t.work {
		if errors.Is(t.work[i].Err, errNoAnswer) {
			t.work[i].Again, t.work[i].Try = try > 0, try
			open = append(open, &t.work[i])
		}
	}
	return open
}

// judge looks at what a flight brought, and how its calls are to be sent from now on. The error is why some must be sent again: they are
// open then; nil when none must. A failure counts more than a script that Redis does not have: sending the text is no answer to it.
func (c *Conn) judge(t *trip, p *parcel) (again error) {
	answered := false
	for _, call := range p.calls {
		err := call.Err
		if err == nil || isReply(err) {
			c.heard.Store(true)
		}
		switch {
		case err == nil:
			answered, t.doubt = true, true
			continue
		case noScript(err):
			answered, p.whole = true, true
			if again == nil || errors.Is(again, errApart) {
				again = err
			}
		case errors.Is(err, errApart):
			answered, t.doubt, p.apart = true, true, true
			if again == nil {
				again = err
			}
		case errors.As(err, &joinError{}):
			continue
		case isReply(err) && !Passing(err):
			answered = true
			continue
		default:
			t.doubt = t.doubt || !isReply(err) && !unsent(err)
			again = err
		}
		call.Err = errNoAnswer
	}
	if answered {
		c.Answered()
	}
	if again != nil {
		c.Failed(again)
	}
	return again
}
