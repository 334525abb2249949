package record

import (
	"context"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
)

// Settled is what a change by a holder did.
type Settled struct {
	Applied  bool       // false: fenced, ended or gone; what was to be written does not count
	Outbox   bool       // an end waits in the outbox of the task's shard to be told
	HandOver *HandOver  // enqueue this
	Others   []HandOver // and these: of the same group, they had waited until fewer of its members run
}

// Settle writes the outcome of a task: out.State, Value or Failure, Attempt.
func (s *Store) Settle(ctx context.Context, worker string, ref Ref, out Outcome) (Settled, error) {
	c := conn.NewCall(settleScript, s.keys.PrefixOf(ref.ID), ref.ID, ref.Number, worker, string(out.State), out.Value,
		out.Failure.Encode(), out.Attempt)
	c.Ends = 1
	if err := s.conn.Do(ctx, c); err != nil {
		return ReadSettled(&Reply{Err: err})
	}
	return ReadSettled(NewReply(c.Reply, c.Err))
}

// Retry charges a failed attempt; the next one comes after delay. A task whose cancel was requested ends with f instead.
func (s *Store) Retry(ctx context.Context, worker string, ref Ref, f *Failure, delay time.Duration) (Settled, error) {
	return ReadSettled(s.run(ctx, retryScript, s.keys.PrefixOf(ref.ID), ref.ID, ref.Number, worker, DelayMillis(delay), f.Encode()))
}

// GiveBack returns a claimed task, nothing charged, after delay. With delay 0 the answer has its hand-over. A task whose
// cancel was requested ends cancelled instead.
func (s *Store) GiveBack(ctx context.Context, worker string, ref Ref, delay time.Duration, unknownType bool) (Settled, error) {
	unknown := 0
	if unknownType {
		unknown = 1
	}
	return ReadSettled(s.run(ctx, givebackScript, s.keys.PrefixOf(ref.ID), ref.ID, ref.Number, worker, DelayMillis(delay), unknown))
}

// ReadSettled reads {ok, outbox, hand-over, {others}…} as all scripts answer that change what a holder holds: a hand-over is a ticket of
// five fields or a task of four.
func ReadSettled(r *Reply) (Settled, error) {
	var out Settled
	switch word := r.Str(); word {
	case "ok":
		out.Applied = true
		out.Outbox = r.Int() == 1
		switch r.Fields() {
		case 5:
			h := ReadTicket(r)
			out.HandOver = &h
		case 4:
			h := readTask(r)
			out.HandOver = &h
		}
		out.Others = ReadHandOvers(r)
	case "fenced", "gone":
	default:
		if r.Err == nil {
			r.Err = fmt.Errorf("settle answered %q", word)
		}
	}
	return out, r.Err
}

// CancelResult is the answer to a cancel.
type CancelResult struct {
	Accepted bool
	State    State // cancelling, cancelled, or the one it had ended in; Expired; "" unknown
	Outbox   bool
}

// Cancel asks a task, or a member that travels alone, to end. reason is what its awaiters see if it ends so.
func (s *Store) Cancel(ctx context.Context, id string, reason *Failure) (CancelResult, error) {
	r := s.run(ctx, cancelScript, s.keys.PrefixOf(id), id, reason.Encode())
	word, state, outbox := r.Str(), r.Str(), r.Int()
	res := CancelResult{Accepted: word == "accepted", State: State(state), Outbox: outbox == 1}
	if word == "expired" {
		res.State = Expired
	}
	return res, r.Err
}
