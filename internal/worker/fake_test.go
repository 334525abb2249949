package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// told is one thing that the fleet was told about a task.
type told struct {
	what    string // settle, retry, giveback, leave, return, pass, keep, hand over, hand back
	id      string
	out     record.Outcome
	failure *record.Failure
	delay   time.Duration
	unknown bool
	indexes []int
	refs    []record.Ref
	at      time.Time
}

// fakeFleet is records, groups and carrier that remember what they are told.
type fakeFleet struct {
	mu      sync.Mutex
	told    []told
	claims  map[string]record.Claim
	nonces  []string
	telling time.Duration // how long an end takes to be there
	silent  int           // so many calls are not answered, though done
	refused []refusal     // calls that are answered with an error, nothing done
	fenced  bool          // nothing is applied
	flags   []record.Flag
	known   bool
	waiting int  // deliveries for a worker
	kept    bool // they are tickets of the group

	members []group.RangeMember // of the one group; those before cursor are taken
	cursor  int
	again   bool                // what goes back is taken again, before all others
	back    []group.RangeMember // when again
	notYet  int
	ranges  int64
	taken   map[int]time.Time // when members were, the last time
	pulling time.Duration     // how long a pull takes
	crashes int               // of each range
	capped  bool              // the group

	beginless bool // no begin is noted
	sizes     []int
	rflags    map[int64]group.RangeFlag
}

func (f *fakeFleet) note(t told) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	t.at = time.Now()
	f.told = append(f.told, t)
	return f.answer()
}

// refusal is an error reply of Redis.
type refusal string

func (r refusal) Error() string { return string(r) }

// RedisError marks it as what Redis said.
func (refusal) RedisError() {}

func refusing(n int, reply string) []refusal { return slices.Repeat([]refusal{refusal(reply)}, n) }

func (f *fakeFleet) refuse(r []refusal) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused = r
}

func (f *fakeFleet) answer() error {
	if len(f.refused) > 0 {
		err := f.refused[0]
		f.refused = f.refused[1:]
		return fmt.Errorf("call: %w", err)
	}
	if f.silent > 0 {
		f.silent--
		return &conn.Error{Doubt: true, Err: errors.New("silence")}
	}
	return nil
}

func (f *fakeFleet) settled(t told) (record.Settled, error) {
	if f.telling > 0 {
		time.Sleep(f.telling)
	}
	err := f.note(t)
	f.mu.Lock()
	defer f.mu.Unlock()
	return record.Settled{Applied: !f.fenced}, err
}

func (f *fakeFleet) list(what string) (out []told) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, t := range f.told {
		if t.what == what {
			out = append(out, t)
		}
	}
	return out
}

func (f *fakeFleet) Claim(_ context.Context, _, nonce string, refs ...record.Ref) ([]record.Claim, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nonces = append(f.nonces, nonce)
	out := make([]record.Claim, len(refs))
	for i, r := range refs {
		c, ok := f.claims[r.ID]
		if !ok {
			c.Status = record.Gone
		}
		c.Ref = r
		out[i] = c
	}
	return out, f.answer()
}

func (f *fakeFleet) Settle(_ context.Context, _ string, ref record.Ref, out record.Outcome) (record.Settled, error) {
	return f.settled(told{what: "settle", id: ref.ID, out: out, failure: out.Failure})
}

func (f *fakeFleet) Retry(_ context.Context, _ string, ref record.Ref, x *record.Failure, d time.Duration) (record.Settled, error) {
	return f.settled(told{what: "retry", id: ref.ID, failure: x, delay: d})
}

func (f *fakeFleet) GiveBack(_ context.Context, _ string, ref record.Ref, d time.Duration, unknown bool) (record.Settled, error) {
	return f.settled(told{what: "giveback", id: ref.ID, delay: d, unknown: unknown})
}

func (f *fakeFleet) Begin(_ context.Context, _ string, ref record.Ref) (bool, error) {
	err := f.note(told{what: "begin", id: ref.ID})
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.beginless {
		return false, refusal("ERR broken")
	}
	return !f.fenced, err
}

func (f *fakeFleet) Flags(context.Context, string, ...record.Ref) ([]record.Flag, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flags, nil
}

// fakeGroups is the group side, whose Flags has another signature.
type fakeGroups struct{ *fakeFleet }

func (g fakeGroups) Next(ctx context.Context, _ string, t record.Ticket, _ string, want, share int, done *group.Ends) (p group.Pull, s record.Settled, err error) {
	if done.Len() > 0 {
		if s, err = g.Settle(ctx, done); err != nil {
			return p, s, err
		}
	}
	p, err = g.pull(t, want, share)
	return p, s, err
}

func (g fakeGroups) pull(t record.Ticket, want, share int) (group.Pull, error) {
	time.Sleep(g.pulling)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.notYet > 0 {
		g.notYet--
		return group.Pull{Status: group.NotYet}, nil
	}
	if len(g.back) > 0 {
		m := g.back[0]
		g.back = g.back[1:]
		return group.Pull{Status: group.GotRange, Range: g.newRange(t, m.Index, m)}, nil
	}
	n := min(want, len(g.members)-g.cursor)
	if share > 0 {
		n = min(n, (len(g.members)-g.cursor+share-1)/share)
	}
	if n == 0 {
		return group.Pull{Status: group.Empty}, nil
	}
	r := g.newRange(t, g.cursor, g.members[g.cursor:g.cursor+n]...)
	g.cursor += n
	return group.Pull{Status: group.GotRange, Range: r}, nil
}

func (g fakeGroups) newRange(t record.Ticket, from int, members ...group.RangeMember) *group.Range {
	g.ranges++
	g.sizes = append(g.sizes, len(members))
	if g.taken == nil {
		g.taken = make(map[int]time.Time)
	}
	for _, m := range members {
		g.taken[m.Index] = time.Now()
	}
	return &group.Range{
		Group: t.Group, ID: g.ranges, From: from, To: from + len(members), Number: 1, Queue: "q", Crashes: g.crashes, Capped: g.capped,
		Members: slices.Clone(members),
	}
}

func (g fakeGroups) Settle(_ context.Context, ends *group.Ends) (record.Settled, error) {
	outs, err := record.DecodeRange(ends.Group(), slices.Concat([]byte("0\n"), ends.Bytes()))
	for _, o := range outs {
		err = errors.Join(err, g.note(told{what: "settle", id: o.ID, out: o, failure: o.Failure}))
	}
	return record.Settled{Applied: true}, err
}

func (g fakeGroups) Leave(_ context.Context, _ string, r *group.Range, i int, x *record.Failure, d time.Duration) (record.Settled, error) {
	return g.settled(told{what: "leave", id: keys.Member(r.Group, i), failure: x, delay: d})
}

func (g fakeGroups) Apart(_ context.Context, _ string, r *group.Range, i int) (record.Settled, error) {
	return g.settled(told{what: "apart", id: keys.Member(r.Group, i)})
}

func (g fakeGroups) ReturnRange(_ context.Context, _ string, r *group.Range, indexes []int) (record.Settled, error) {
	g.mu.Lock()
	for _, i := range indexes {
		if g.again {
			g.back = append(g.back, g.members[i])
		}
	}
	g.mu.Unlock()
	return g.settled(told{what: "return", id: r.Group, indexes: indexes})
}

func (g fakeGroups) PassTicket(_ context.Context, _ string, t record.Ticket) (record.Settled, error) {
	return g.settled(told{what: "pass", id: t.Group})
}

func (g fakeGroups) YieldTicket(ctx context.Context, worker string, t record.Ticket, deliveries, workers int) (kept bool, s record.Settled, err error) {
	if g.kept {
		return true, s, g.note(told{what: "keep", id: t.Group})
	}
	s, err = g.PassTicket(ctx, worker, t)
	return false, s, err
}

func (g fakeGroups) Flags(_ context.Context, _ string, ranges ...*group.Range) ([]group.RangeFlag, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]group.RangeFlag, len(ranges))
	for i, r := range ranges {
		out[i] = g.rflags[r.ID]
	}
	return out, nil
}

func (f *fakeFleet) HandOver(_ context.Context, hs ...record.HandOver) error {
	return f.note(told{what: "hand over", id: hs[0].Queue, refs: hs[0].Delivery.Refs})
}

func (f *fakeFleet) HandBack(_ context.Context, h record.HandOver) error {
	return f.note(told{what: "hand back", id: h.Queue, refs: h.Delivery.Refs})
}

func (f *fakeFleet) Waiting(context.Context, string) (deliveries, workers int, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.waiting, 0, nil
}

var (
	errDraining  = errors.New("draining")
	errFenced    = errors.New("fenced")
	errTimedOut  = errors.New("timed out")
	errDeadline  = errors.New("deadline")
	errCancelled = errors.New("cancelled")
)

// newWorker returns a worker with so many slots over f.
func newWorker(t testing.TB, f *fakeFleet, slots int, handlers map[string]Handler) *Worker {
	t.Helper()
	w := New(context.Background(), Config{
		ID: "w", Slots: NewSlots(slots), Records: f, Groups: fakeGroups{f}, Carrier: f, Handlers: handlers,
		Causes: Causes{
			Draining: errDraining, Fenced: errFenced, TimedOut: errTimedOut, Deadline: errDeadline,
			Cancelled: func(reason string) error { return fmt.Errorf("%w: %s", errCancelled, reason) },
		},
		MaxResult: 100, Drain: 25 * time.Second, UnknownTypeWait: 10 * time.Minute,
		Known:  func(context.Context, string, string) (bool, error) { return f.known, nil },
		Outbox: func(string) {}, Redis: func(now time.Time) time.Time { return now }, Log: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(w.kill)
	return w
}

// deliver gives w a delivery as the gate does, which it must take.
func deliver(t testing.TB, w *Worker, d record.Delivery) {
	t.Helper()
	if err := tryDeliver(t, w, d.Encode()); err != nil {
		t.Error(err)
	}
}

// tryDeliver gives w a message as the gate does.
func tryDeliver(t testing.TB, w *Worker, message []byte) error {
	t.Helper()
	if err := w.cfg.Slots.Gate().Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w.Deliver("q", message)
}

// task puts a task of type "t" into f and returns its delivery.
func (f *fakeFleet) task(id string, edit func(*record.Claim)) record.Delivery {
	c := record.Claim{Type: "t", Queue: "q", Args: record.Wrap([]byte("1")), Attempt: 1}
	if edit != nil {
		edit(&c)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.claims == nil {
		f.claims = make(map[string]record.Claim)
	}
	f.claims[id] = c
	return record.Delivery{Refs: []record.Ref{{ID: id, Number: 7}}}
}

func options(o record.Options) func(*record.Claim) {
	return func(c *record.Claim) { c.Options = o.Encode() }
}

func ms(n int64) *int64 { return &n }

func failed(kind, message string) Result {
	return Result{Failure: &record.Failure{Kind: kind, Message: message}}
}

// untilDone is a handler that returns an error when its context ends.
func untilDone(ctx context.Context, _ *Job) Result {
	<-ctx.Done()
	return Result{Failure: &record.Failure{Kind: "error", Message: context.Cause(ctx).Error()}, Canceled: true}
}

func (f *fakeFleet) all() []told {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.told)
}
