package record

import (
	"context"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
)

// Conflict is what a creation does when the same task is there already.
type Conflict string

// The policies; with another type or other arguments it is always a conflict.
const (
	Return Conflict = "return"
	Error  Conflict = "error"
	Rerun  Conflict = "rerun"
)

// NewTask is a task to create. Names, sizes and durations have been validated.
type NewTask struct {
	ID, Type, Queue string
	Args            []byte // in an envelope
	Digest          []byte // of type and arguments
	Options         []byte // opaque here; they come back with the claim
	Retention       time.Duration
	MaxPending      time.Duration
	Delay           time.Duration
	At, Deadline    time.Time // zero: none
	OnConflict      Conflict
	RetryOf         string
	Inbox           string // of who will await it, so that it need not ask: told of the end as if it had watched
	Nonce           string // of an ID that may be known: this creation, sent again after a lost answer, is not its own conflict
}

// CreateStatus is what became of a creation.
type CreateStatus byte

// The answers to a creation.
const (
	New          CreateStatus = iota
	Existing                  // the same task was there, and the policy returns it
	ConflictID                // the same task was there, and the policy refuses
	ConflictArgs              // a task with another type or other arguments was there
)

// Created is the answer to a creation.
type Created struct {
	Status CreateStatus
	Number int64 // of its first delivery
	Waits  bool  // for its time: nothing to enqueue now
}

// CreateCall returns the creation as a call for a pipeline, to be confirmed. Where Redis' memory is full it is refused.
func (s *Store) CreateCall(t NewTask) *conn.Call {
	c := s.createCall(admitScript, t)
	c.Confirm = true
	return c
}

func (s *Store) createCall(script *conn.Script, t NewTask) *conn.Call {
	policy := t.OnConflict
	if policy == "" {
		policy = Return
	}
	return conn.NewCall(script, s.keys.PrefixOf(t.ID), t.ID, t.Type, t.Queue, t.Args, t.Digest, t.Options, Millis(t.Retention),
		DelayMillis(t.Delay), TimeMillis(t.At), TimeMillis(t.Deadline), Millis(t.MaxPending), string(policy), t.RetryOf, t.Nonce, t.Inbox)
}

// ReadCreated reads the answer to CreateCall.
func ReadCreated(c *conn.Call) (Created, error) {
	r := NewReply(c.Reply, c.Err)
	status, number, waits := r.Str(), r.Int(), r.Int()
	if r.Err != nil {
		return Created{}, r.Err
	}
	st, err := ParseStatus(status)
	return Created{Status: st, Number: number, Waits: waits == 1}, err
}

// ParseStatus reads the word that a creating script answers with.
func ParseStatus(word string) (CreateStatus, error) {
	switch word {
	case "new":
		return New, nil
	case "existing":
		return Existing, nil
	case "conflict":
		return ConflictID, nil
	case "different":
		return ConflictArgs, nil
	}
	return 0, fmt.Errorf("create answered %q", word)
}

// Create stores tasks of something that stands already, in one pipeline, also where Redis' memory is full. The error is the first that concerns all; one task's is in its place of the answers' errors.
func (s *Store) Create(ctx context.Context, tasks ...NewTask) ([]Created, error) {
	calls := make([]*conn.Call, len(tasks))
	for i, t := range tasks {
		calls[i] = s.createCall(createScript, t)
	}
	if err := s.conn.Do(ctx, calls...); err != nil {
		return nil, err
	}
	out := make([]Created, len(tasks))
	for i, c := range calls {
		var err error
		if out[i], err = ReadCreated(c); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Mark notes that hand-overs have been enqueued, and in which messages. Until then they are handed over again, two seconds after they
// were due; from then on while the message is there they are not.
func (s *Store) Mark(ctx context.Context, hs ...HandOver) error {
	return s.conn.All(ctx, s.markCalls(hs, false)...)
}

// HandBackCalls note that deliveries which nobody claimed lie in other messages from now on.
func (s *Store) HandBackCalls(hs ...HandOver) []*conn.Call { return s.markCalls(hs, true) }

// markArgs is how many arguments a mark takes for each reference.
const markArgs = 5

func (s *Store) markCalls(hs []HandOver, again bool) (calls []*conn.Call) {
	args := map[int][]any{}
	for _, h := range hs {
		for _, r := range h.Delivery.Refs {
			sh := s.keys.Shard(r.ID)
			args[sh] = append(args[sh], "task", r.ID, r.Number, "", h.Message)
		}
		if t := h.Delivery.Ticket; t != nil {
			sh := s.keys.Shard(t.Group)
			args[sh] = append(args[sh], "ticket", t.Group, t.Number, t.Place, h.Message)
		}
	}
	mode := 0
	if again {
		mode = 1
	}
	for sh, a := range args {
		for len(a) > 0 {
			n := min(len(a), markArgs*500)
			calls = append(calls, conn.NewCall(markScript, s.keys.Prefix(sh), append([]any{mode}, a[:n]...)...))
			a = a[n:]
		}
	}
	return calls
}

// run runs one script and reads its answer.
func (s *Store) run(ctx context.Context, sc *conn.Script, prefix string, args ...any) *Reply {
	c := conn.NewCall(sc, prefix, args...)
	if err := s.conn.Do(ctx, c); err != nil {
		return &Reply{Err: err}
	}
	return NewReply(c.Reply, c.Err)
}
