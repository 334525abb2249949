package group

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"

	"github.com/google/uuid"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// Limits of the write-ahead.
const (
	StagingTTL    = 60 * time.Second // what a producer that died while staging leaves behind lives so long
	maxTickets    = 32
	bucketSize    = 1000    // segments of one hash, as in members.lua
	flushBytes    = 1 << 20 // of arguments in one pipeline
	stageSegments = 16      // in one script
	bindLease     = 5 * time.Second
	renewEvery    = 10 * time.Second
)

// Spec is what a group is, apart from its members.
type Spec struct {
	ID           string
	Generated    bool // the ID is new: nobody can have used it
	Queue        string
	Options      []byte
	Retention    time.Duration
	MaxPending   time.Duration
	Delay        time.Duration
	At, Deadline time.Time
	OnConflict   record.Conflict
	RetryOf      string
	MaxRunning   int // members that may run at once; 0: no bound
}

// Stage is a group on its way into Redis: nothing of it can be seen, and no member starts, before Commit. It is not safe for
// concurrent use.
type Stage struct {
	store   *Store
	spec    Spec
	nonce   string
	digest  hash.Hash
	packer  *Packer // of what comes by Add
	members int
	inRange int // members that ranges carry
	segs    int
	blobs   [][]byte // the last of segs, which are not sent yet
	pending int      // their bytes
	bytes   int64    // of all segments
	flight  chan error
	failed  error
	renewed time.Time
}

// Stage begins a group.
func (s *Store) Stage(spec Spec) *Stage {
	return &Stage{store: s, spec: spec, nonce: uuid.NewString(), digest: sha256.New(), packer: NewPacker(spec.Queue, 0), renewed: time.Now()}
}

// Members returns how many have been added.
func (st *Stage) Members() int { return st.members + st.packer.out.members }

// Bytes returns how many bytes of segments there are so far.
func (st *Stage) Bytes() int64 { return st.bytes }

// Add stages one more member. It blocks when a pipeline is full and the one before it has not been answered.
func (st *Stage) Add(ctx context.Context, m Member) error {
	st.packer.Add(&m)
	if len(st.packer.out.segments) == 0 {
		return nil
	}
	return st.Put(ctx, st.packer.take())
}

// Put stages members that a Packer has packed; they follow those staged before.
func (st *Stage) Put(ctx context.Context, p *Packed) error {
	st.digest.Write(p.digests)
	st.members += p.members
	st.inRange += p.inRange
	for _, blob := range p.segments {
		st.blobs = append(st.blobs, blob)
		st.segs++
		st.pending += len(blob)
		st.bytes += int64(len(blob))
		if st.pending < flushBytes {
			continue
		}
		if err := st.flush(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (st *Stage) bucket(b int) string { return st.store.keys.Args(st.spec.ID, st.nonce, b) }

func (st *Stage) buckets() int { return (st.segs + bucketSize - 1) / bucketSize }

// flush sends what is packed, apart, once what was sent before has been answered: so the members that come next are encoded
// meanwhile, and no more than two pipelines are in memory.
func (st *Stage) flush(ctx context.Context) error {
	if err := st.land(ctx); err != nil || len(st.blobs) == 0 {
		return err
	}
	var calls []*conn.Call
	for first := st.segs - len(st.blobs); len(st.blobs) > 0; {
		bucket := first / bucketSize
		n := min(len(st.blobs), stageSegments, (bucket+1)*bucketSize-first)
		args := make([]any, 0, 3+2*n)
		args = append(args, st.nonce, bucket, StagingTTL.Milliseconds())
		for i, blob := range st.blobs[:n] {
			args = append(args, first+i, blob)
		}
		calls = append(calls, conn.NewCall(stageScript, st.store.keys.PrefixOf(st.spec.ID), args...))
		st.blobs, first = st.blobs[n:], first+n
	}
	if time.Since(st.renewed) > renewEvery { // the full buckets; the others are renewed with each segment
		st.renewed = time.Now()
		for b := range st.buckets() {
			calls = append(calls, conn.NewCommand("pexpire", st.bucket(b), StagingTTL.Milliseconds()))
		}
	}
	st.blobs, st.pending = nil, 0
	flight := make(chan error, 1)
	st.flight = flight
	go func() { flight <- st.store.conn.All(ctx, calls...) }()
	return nil
}

// land waits for what was sent, no longer than ctx.
func (st *Stage) land(ctx context.Context) error {
	if st.flight == nil {
		return st.failed
	}
	select {
	case err := <-st.flight:
		if st.flight = nil; st.failed == nil {
			st.failed = err
		}
		return st.failed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Committed is the answer to a commit.
type Committed struct {
	Status  record.CreateStatus
	Members int
	Stored  bool  // with an error: the group may have been committed
	Short   error // the group with that ID stands, and whether it is durable was not confirmed: a *conn.ShortError
}

// Commit makes the group real in one step; its tickets are in the queue by then. Whatever keeps Redis from saying so leaves
// either the whole group or staging that its time to live removes. With any status but New nothing of this stage is left.
func (st *Stage) Commit(ctx context.Context, c *carrier.Carrier) (Committed, error) {
	out := Committed{Members: st.Members()}
	if err := st.Put(ctx, st.packer.Flush()); err != nil {
		return out, err
	}
	if err := st.flush(ctx); err != nil {
		return out, err
	}
	if err := st.land(ctx); err != nil {
		return out, err
	}
	early, err := st.early(ctx)
	if err != nil {
		return out, err
	}
	if len(early) > 0 {
		if err := c.Enqueue(ctx, early); err != nil {
			return out, err
		}
	}
	out.Stored = true // perhaps, from here on
	waits, tickets, err := st.commit(ctx, &out)
	if err != nil {
		return out, err
	}
	if out.Status != record.New {
		out.Stored = false
		st.Rollback(ctx)
		if out.Status == record.Existing && st.inRange < st.members {
			_ = st.store.Bind(ctx, st.spec.ID, c) // whoever committed it may have died before: members with IDs of their own are known now
		}
		return out, nil
	}
	// The group stands. What fails from here on is done again by whoever looks at the open work.
	if !waits {
		if len(early) == 0 && tickets > 0 {
			early = st.tickets(tickets)
			if c.Enqueue(ctx, early) != nil {
				early = nil
			}
		}
		if len(early) > 0 {
			_ = st.store.records.Mark(ctx, early...)
		}
	}
	if st.inRange < st.members {
		_ = st.store.Bind(ctx, st.spec.ID, c)
	}
	return out, nil
}

// early are the tickets to enqueue before the commit: none for a group that waits for its time, or whose ID is taken.
func (st *Stage) early(ctx context.Context) ([]record.HandOver, error) {
	if st.spec.Delay > 0 || !st.spec.At.IsZero() || st.inRange == 0 {
		return nil, nil
	}
	if !st.spec.Generated {
		in, err := st.store.records.Look(ctx, st.spec.ID)
		if err != nil || in.State != "" {
			return nil, err
		}
	}
	return st.tickets(min(maxTickets, st.inRange)), nil
}

// tickets are a new group's: the commit gives place k the number k+1.
func (st *Stage) tickets(n int) []record.HandOver {
	hs := make([]record.HandOver, n)
	for k := range hs {
		t := &record.Ticket{Group: st.spec.ID, Nonce: st.nonce, Place: k, Number: int64(k) + 1}
		hs[k] = record.HandOver{Queue: st.spec.Queue, Delivery: record.Delivery{Ticket: t}}
	}
	return hs
}

func (st *Stage) commit(ctx context.Context, out *Committed) (waits bool, tickets int, err error) {
	sp, bind := st.spec, int64(0)
	if st.inRange < st.members {
		bind = bindLease.Milliseconds()
	}
	bound := sp.MaxRunning
	if bound >= st.members { // it binds nobody, so nobody has to count
		bound = 0
	}
	policy := sp.OnConflict
	if policy == "" {
		policy = record.Return
	}
	var count [8]byte
	binary.BigEndian.PutUint64(count[:], uint64(st.members))
	st.digest.Write(count[:])
	c := conn.NewCall(commitScript, st.store.keys.PrefixOf(sp.ID), sp.ID, st.nonce, st.members, st.segs, sp.Queue, st.digest.Sum(nil)[:16], sp.Options,
		record.Millis(sp.Retention), record.DelayMillis(sp.Delay), record.TimeMillis(sp.At), record.TimeMillis(sp.Deadline), record.Millis(sp.MaxPending), string(policy),
		sp.RetryOf, min(maxTickets, st.inRange), bind, bound)
	// What was staged before lies in the same shard, so that its confirmation holds for all of the group.
	c.Confirm = true
	if err := st.store.conn.Do(ctx, c); err != nil {
		return false, 0, err
	}
	out.Short = c.Short
	r := record.NewReply(c.Reply, c.Err)
	word := r.Str()
	if r.Err != nil {
		return false, 0, r.Err
	}
	if word == "nostage" {
		out.Stored = false
		return false, 0, ErrStagingGone
	}
	if out.Status, err = record.ParseStatus(word); err != nil || out.Status != record.New {
		return false, 0, err
	}
	waits, tickets = r.Int() == 1, int(r.Int())
	return waits, tickets, r.Err
}

// Rollback removes what has been staged. It takes no longer than the context; what it cannot remove, StagingTTL does.
func (st *Stage) Rollback(ctx context.Context) {
	if st.buckets() == 0 {
		return
	}
	_ = st.land(ctx) // or it would write behind the removal; it ends with the context that it was sent with
	args := []any{"unlink"}
	for b := range st.buckets() {
		args = append(args, st.bucket(b))
	}
	if ctx.Err() != nil { // the caller must not wait; a moment in the background is worth the memory
		go func() {
			ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer stop()
			_ = st.store.conn.Do(ctx, conn.NewCommand(args...))
		}()
		return
	}
	_ = st.store.conn.Do(ctx, conn.NewCommand(args...))
}

// run runs a script in the shard of a group.
func (s *Store) run(ctx context.Context, sc *conn.Script, group string, args ...any) *record.Reply {
	c := conn.NewCall(sc, s.keys.PrefixOf(group), args...)
	if err := s.conn.Do(ctx, c); err != nil {
		return &record.Reply{Err: err}
	}
	return record.NewReply(c.Reply, c.Err)
}
