package group

import (
	"context"
	"strconv"
	"strings"

	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// sweepBatch is how many members one script ends: decision 9 bounds its time.
const sweepBatch = 500

// Cancel asks a group to end: until its outcome, or as its Settled view until its barrier. Every member that has not ended is
// asked in turn; should the caller die over that, whoever looks at the open work goes on. State says why it was not accepted.
func (s *Store) Cancel(ctx context.Context, gid string, settled bool, reason *record.Failure) (record.CancelResult, error) {
	view := "o"
	if settled {
		view = "b"
	}
	r := s.run(ctx, cancelScript, gid, gid, view, reason.Encode())
	switch word := r.Str(); {
	case r.Err != nil || word == "unknown":
		return record.CancelResult{}, r.Err
	case word == "expired":
		return record.CancelResult{State: record.Expired}, nil
	case word == "done":
		return record.CancelResult{State: record.Succeeded}, nil
	}
	// The request is durable: what follows only hastens it.
	_ = s.Sweep(ctx, gid)
	return record.CancelResult{Accepted: true, State: record.Cancelling}, nil
}

// CancelMember asks one member to end.
func (s *Store) CancelMember(ctx context.Context, gid string, index int, reason *record.Failure) (record.CancelResult, error) {
	r := s.run(ctx, cancelMemberScript, gid, gid, index, reason.Encode())
	word := r.Str()
	switch {
	case r.Err != nil:
		return record.CancelResult{}, r.Err
	case word == "accepted":
		return record.CancelResult{Accepted: true, State: record.Cancelling, Outbox: r.Int() == 1}, r.Err
	case word == "alone":
		return s.records.Cancel(ctx, keys.Member(gid, index), reason)
	case word == "linked":
		return s.cancelLinked(ctx, r.Str(), reason)
	case word == "expired":
		return record.CancelResult{State: record.Expired}, nil
	case word == "done":
		return record.CancelResult{State: record.Succeeded}, nil
	}
	return record.CancelResult{}, nil
}

// cancelLinked cancels what a linked place stands for: "view;id".
func (s *Store) cancelLinked(ctx context.Context, link string, reason *record.Failure) (record.CancelResult, error) {
	view, id, _ := strings.Cut(link, ";")
	res, err := s.records.Cancel(ctx, id, reason)
	if err != nil || res.Accepted || res.State != "" {
		return res, err
	}
	if gid, index, ok := keys.SplitMember(id); ok {
		return s.CancelMember(ctx, gid, index, reason)
	}
	return s.Cancel(ctx, id, view == "b", reason)
}

// Sweep ends the members that nobody has claimed of a group that was cancelled or is past its time, and passes a cancel on to
// those that run or come from elsewhere. Doing it again does no harm; of any other group it does nothing.
func (s *Store) Sweep(ctx context.Context, gid string) error {
	for {
		r := s.run(ctx, sweepScript, gid, gid, sweepBatch)
		more, outbox, reason, state := r.Int() == 1, r.Int() == 1, record.DecodeFailure(r.Bytes()), record.State(r.Str())
		if r.Err != nil {
			return r.Err
		}
		for r.More() {
			a := r.List()
			kind, place, what := a.Str(), a.Str(), a.Str()
			if a.Err != nil {
				return a.Err
			}
			var res record.CancelResult
			var err error
			switch {
			case state != record.Cancelled:
				err = s.late(ctx, gid, place, kind == "link")
				res.Outbox = true
			case kind == "alone":
				res, err = s.records.Cancel(ctx, gid+":"+place, reason)
			default:
				res, err = s.cancelLinked(ctx, what, reason)
			}
			if err != nil {
				return err
			}
			outbox = outbox || res.Outbox
		}
		if outbox {
			for shard := range s.keys.Shards() {
				if err := s.DeliverOutbox(ctx, shard); err != nil {
					return err
				}
			}
		}
		if !more {
			return nil
		}
	}
}

// late ends a member that no range carries and whose group's deadline has passed: its place if it is from elsewhere, since the
// task or group there may have time left; itself if it travels alone and nobody runs it.
func (s *Store) late(ctx context.Context, gid, place string, linked bool) error {
	index, err := strconv.Atoi(place)
	if err != nil {
		return err
	}
	if linked {
		o := &record.Outcome{State: record.TimedOut, Failure: &record.Failure{Kind: "deadline", Message: "the deadline has passed"}}
		return s.conn.All(ctx, s.linkedCall(record.Link{Group: gid, Index: index}, o, false))
	}
	_, err = s.records.Watch(ctx, "", []record.Interest{{ID: keys.Member(gid, index), View: record.Whole}})
	return err
}
