package record

import (
	"context"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
)

// ClaimStatus is the answer to a claim.
type ClaimStatus byte

// The answers to a claim. All but Claimed mean: acknowledge and drop.
const (
	Claimed ClaimStatus = iota
	Stale               // another number is current
	Held                // somebody else holds it
	Gone                // no such task
	Ended               // it has its outcome
	Waits               // until fewer members of its group run; then it is delivered again

	noRoom // asked again, never returned
)

// Claim is a task in the hands of a worker.
type Claim struct {
	Status ClaimStatus
	Ref
	Type, Queue  string
	Args         []byte
	Options      []byte
	Attempt      int // 1 + charged failures
	Crashes      int
	QueuedAt     time.Time
	Deadline     time.Time // zero: none
	Cancelled    bool      // its end was requested
	Reason       *Failure  // of the request
	Group        string    // of a member that travels alone
	Index        int
	UnknownSince time.Time // when it was first handed back for its type
	Outbox       bool      // Ended by this claim: others must hear of it
}

// Claim takes tasks. The nonce names this dequeue: the same one again gets the same answer, so a claim whose answer was lost is
// simply repeated.
func (s *Store) Claim(ctx context.Context, worker, nonce string, refs ...Ref) ([]Claim, error) {
	out, open := make([]Claim, len(refs)), make([]int, len(refs))
	for i := range refs {
		open[i] = i
	}
	for len(open) > 0 {
		calls := make([]*conn.Call, len(open))
		for i, at := range open {
			calls[i] = conn.NewCall(claimScript, s.keys.PrefixOf(refs[at].ID), refs[at].ID, refs[at].Number, worker, nonce)
		}
		if err := s.conn.Do(ctx, calls...); err != nil {
			return nil, err
		}
		later := open[:0]
		for i, at := range open {
			var err error
			if out[at], err = readClaim(refs[at], calls[i]); err != nil {
				return nil, err
			}
			if out[at].Status == noRoom {
				later = append(later, at)
			}
		}
		open = later
	}
	return out, nil
}

func readClaim(ref Ref, c *conn.Call) (Claim, error) {
	r := NewReply(c.Reply, c.Err)
	cl := Claim{Ref: ref}
	switch word := r.Str(); word {
	case "claimed":
	case "stale":
		cl.Status = Stale
	case "held":
		cl.Status = Held
	case "gone":
		cl.Status = Gone
	case "waits":
		cl.Status = Waits
	case "later":
		cl.Status = noRoom
	case "ended":
		cl.Status = Ended
		cl.Outbox = r.More() && r.Int() == 1
	default:
		if r.Err == nil {
			r.Err = fmt.Errorf("claim answered %q", word)
		}
	}
	if r.Err != nil || cl.Status != Claimed {
		return cl, r.Err
	}
	cl.Type, cl.Args, cl.Options = r.Str(), r.Bytes(), r.Bytes()
	cl.Attempt, cl.Crashes = int(r.Int())+1, int(r.Int())
	cl.QueuedAt, cl.Deadline = r.Time(), r.Time()
	cl.Cancelled, cl.Reason = r.Int() == 1, DecodeFailure(r.Bytes())
	cl.Group, cl.Index, cl.UnknownSince = r.Str(), int(r.Int()), r.Time()
	return cl, r.Err
}

// Flag is a word to the holder of a task.
type Flag struct {
	Ref
	Fenced bool     // it does not hold this delivery any more
	Reason *Failure // else: its end was requested
}

// Flags asks about the tasks that a worker runs: it answers those whose end was requested and those that it has lost.
func (s *Store) Flags(ctx context.Context, worker string, refs ...Ref) ([]Flag, error) {
	args := map[int][]any{}
	for _, r := range refs {
		sh := s.keys.Shard(r.ID)
		if args[sh] == nil {
			args[sh] = []any{worker}
		}
		args[sh] = append(args[sh], r.ID, r.Number)
	}
	var calls []*conn.Call
	for sh, a := range args {
		calls = append(calls, conn.NewCall(flagsScript, s.keys.Prefix(sh), a...))
	}
	if err := s.conn.Do(ctx, calls...); err != nil {
		return nil, err
	}
	var out []Flag
	for _, c := range calls {
		for r := NewReply(c.Reply, c.Err); ; {
			if r.Err != nil {
				return nil, r.Err
			}
			if !r.More() {
				break
			}
			f := r.List()
			flag := Flag{Ref: Ref{ID: f.Str(), Number: f.Int()}, Fenced: f.Str() == "fenced", Reason: DecodeFailure(f.Bytes())}
			if f.Err != nil {
				return nil, f.Err
			}
			out = append(out, flag)
		}
	}
	return out, nil
}
