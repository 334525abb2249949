package group

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// DeliverOutbox tells groups of the ends that members from elsewhere came to, and forgets those that have arrived. Whoever settled
// calls it; what was left is found by age. What cannot be told stays: trying again at once is no help, and DeliverLate says so.
func (s *Store) DeliverOutbox(ctx context.Context, shard int) error {
	_, _, err := s.deliver(ctx, shard, 0)
	return err
}

// DeliverLate is DeliverOutbox for entries that are at least so old: their deliverer is gone. It returns how many those were, and an error
// also where some cannot be told.
func (s *Store) DeliverLate(ctx context.Context, shard int, age time.Duration) (int, error) {
	n, bad, err := s.deliver(ctx, shard, age)
	if err == nil && len(bad) > 0 {
		err = fmt.Errorf("%d entries of the outbox cannot be told, one: %w", len(bad), bad[0])
	}
	return n, err
}

// deliver returns how many ends were told, and what is wrong with those that cannot be.
func (s *Store) deliver(ctx context.Context, shard int, age time.Duration) (n int, bad []error, err error) {
	for again := true; again; { // an end may be the end of an outer group, whose entry comes next
		again, bad = false, nil
		for cursor := "0"; ; {
			ends, next, err := s.records.Ends(ctx, shard, cursor, age)
			if err != nil {
				return n, bad, err
			}
			told, more, wrong, err := s.tell(ctx, ends)
			if err != nil {
				return n, bad, err
			}
			if err := s.records.Told(ctx, shard, told...); err != nil {
				return n, bad, err
			}
			n += len(told)
			again, bad = again || more, append(bad, wrong...)
			if cursor = next; cursor == "0" {
				break
			}
		}
	}
	return n, bad, nil
}

// tell delivers ends; it answers those that every link has heard of, whether one of them ended a group that waits in turn, and what is
// wrong with those that cannot be told: they hold up no other.
func (s *Store) tell(ctx context.Context, ends []record.End) (told []string, again bool, bad []error, err error) {
	calls := make([][]*conn.Call, len(ends))
	var all []*conn.Call
	for i := range ends {
		o, err := s.outcomeOf(ctx, &ends[i])
		if _, away := errors.AsType[*conn.Error](err); away {
			return nil, false, nil, err
		}
		if err != nil {
			bad = append(bad, err)
			continue
		}
		for _, l := range ends[i].Links {
			calls[i] = append(calls[i], s.linkedCall(l, o, false))
		}
		all = append(all, calls[i]...)
		if len(calls[i]) == 0 {
			told = append(told, ends[i].Field)
		}
	}
	if err := s.conn.Do(ctx, all...); err != nil {
		return nil, false, nil, err
	}
	for i := range ends {
		heard := 0
		for _, c := range calls[i] {
			r := record.NewReply(c.Reply, c.Err)
			word := r.Str()
			again = word == "ok" && r.Int() == 1 || again
			if r.Err != nil {
				bad = append(bad, fmt.Errorf("telling %s of its member: %w", ends[i].ID, r.Err))
			} else if word != "binding" {
				heard++
			}
		}
		if heard > 0 && heard == len(calls[i]) {
			told = append(told, ends[i].Field)
		}
	}
	return told, again, bad, nil
}

// outcomeOf is the outcome that an entry of an outbox tells.
func (s *Store) outcomeOf(ctx context.Context, e *record.End) (*record.Outcome, error) {
	switch {
	case e.Err != nil:
		return nil, e.Err
	case e.Member:
		return s.memberOutcome(ctx, e.ID)
	case e.Group:
		return &record.Outcome{State: e.State, Failure: e.Failure, Link: e.ID, LinkSettled: e.Settled}, nil
	}
	return &record.Outcome{State: e.State, Value: e.Value, Failure: e.Failure}, nil
}
