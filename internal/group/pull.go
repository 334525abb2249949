package group

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// PullStatus is the answer to a pull.
type PullStatus byte

// The answers to a pull.
const (
	GotRange PullStatus = iota
	Empty               // nothing is unclaimed: the ticket is closed
	NotYet              // the group is not there yet: ask again in 50 ms, without a slot
	Stale               // the ticket is not this worker's, or its group is over: drop it
	Full                // as many members run as may: the ticket is this worker's no more, it is delivered again when one has ended
)

// Range is members in the hands of a worker.
type Range struct {
	Group    string
	ID       int64 // of the open range
	From, To int
	Number   int64 // its delivery number
	Crashes  int
	Queue    string
	QueuedAt time.Time
	Deadline time.Time // zero: none
	Capped   bool      // of a group with MaxRunning
	Lost     bool      // its arguments are gone: its members end as lost
	Members  []RangeMember
}

// RangeMember is one member to run.
type RangeMember struct {
	Index int
	*Profile
	Args   []byte          // in an envelope
	Reason *record.Failure // its end was requested: do not run it
}

// Pull answers what a ticket's holder is to do.
type Pull struct {
	Status PullStatus
	Range  *Range
	Others []record.HandOver // enqueue these: of the same group, they had waited until fewer of its members run
}

// Next settles what a worker has of a range, if there is anything, and goes on with a ticket: it claims the ticket, if it did not hold
// it, and takes the next members of its group: at most want, and at most a share-th of those that nobody has taken (0: all), in the order of the calls. The nonce names this call: the same one again gets
// the same range. A group that was cancelled or is past its time is swept on the way.
func (s *Store) Next(ctx context.Context, worker string, t record.Ticket, nonce string, want, share int, done *Ends) (p Pull, settled record.Settled, err error) {
	var others []record.HandOver
	for {
		var sweep bool
		var first record.Settled
		if p, first, sweep, err = s.next(ctx, worker, t, nonce, want, share, done); done.Len() > 0 {
			settled, done = first, nil
		}
		others = append(others, p.Others...)
		p.Others = others
		if err != nil || !sweep {
			if err == nil && p.Status != GotRange && p.Status != NotYet {
				s.forget(t.Nonce)
			}
			return p, settled, err
		}
		if err := s.Sweep(ctx, t.Group); err != nil {
			return Pull{Others: others}, settled, err
		}
	}
}

func (s *Store) next(ctx context.Context, worker string, t record.Ticket, nonce string, want, share int, done *Ends) (p Pull, settled record.Settled, sweep bool, err error) {
	s.mu.Lock()
	have := s.segments[t.Nonce]
	s.mu.Unlock()
	at := -1
	if have != nil {
		at = have.number
	}
	args := append(make([]any, 0, 17), t.Group, t.Nonce, t.Place, t.Number, worker, nonce, want, share, at)
	c := conn.NewCall(nextScript, s.keys.PrefixOf(t.Group), done.args(args, false)...)
	c.Ends = done.Len()
	if err := s.conn.Do(ctx, c); err != nil {
		return p, settled, false, err
	}
	r := record.NewReply(c.Reply, c.Err)
	if settled, err = readEnded(r); err != nil {
		return p, settled, false, err
	}
	switch word := r.Str(); word {
	case "range":
	case "empty":
		p.Status = Empty
	case "notyet":
		p.Status = NotYet
	case "stale":
		p.Status = Stale
	case "full":
		p.Status = Full
	case "sweep":
		sweep = true
	default:
		if r.Err == nil {
			r.Err = fmt.Errorf("pull answered %q", word)
		}
	}
	if r.Err == nil && p.Status == GotRange && !sweep {
		p.Range, err = s.readRange(r, t, have)
	}
	if err == nil {
		p.Others = record.ReadHandOvers(r)
		err = r.Err
	}
	return p, settled, sweep, err
}

// readEnded reads what a settle answers.
func readEnded(r *record.Reply) (out record.Settled, err error) {
	word := r.Str()
	out.Outbox = r.Int() == 1
	switch word {
	case "ok":
		out.Applied = true
	case "", "fenced", "gone":
	default:
		if r.Err == nil {
			r.Err = fmt.Errorf("settle of a range answered %q", word)
		}
	}
	return out, r.Err
}

// readRange reads a range as a pull answers it; have is the segment that the pull said it holds.
func (s *Store) readRange(r *record.Reply, t record.Ticket, have *segment) (*Range, error) {
	rg := &Range{Group: t.Group, ID: r.Int(), From: int(r.Int()), To: int(r.Int()), Number: r.Int(), Crashes: int(r.Int())}
	number, bits, blob := int(r.Int()), r.Str(), r.Bytes()
	rg.Queue, rg.QueuedAt, rg.Deadline, rg.Capped = r.Str(), r.Time(), r.Time(), r.Str() != ""
	var reasons map[int]*record.Failure
	for r.Fields() > 0 {
		if reasons == nil {
			reasons = map[int]*record.Failure{}
		}
		index := int(r.Int())
		reasons[index] = record.DecodeFailure(r.Bytes())
		if r.Err != nil {
			break
		}
	}
	if r.Err != nil {
		return nil, r.Err
	}
	seg := have
	if len(blob) > 0 {
		var err error
		if seg, err = unpackSegment(blob); err != nil {
			return nil, err
		}
		seg.number = number
		s.mu.Lock()
		s.segments[t.Nonce] = seg
		s.mu.Unlock()
	}
	fits := seg != nil && seg.number == number && rg.From >= seg.start && rg.To <= seg.start+len(seg.members)
	rg.Lost = !fits && len(blob) == 0
	if !fits && !rg.Lost || rg.To < rg.From || bits != "" && len(bits) != 4*(rg.To-rg.From) {
		return nil, fmt.Errorf("group %s: range %d to %d does not fit its segment", t.Group, rg.From, rg.To)
	}
	rg.Members = make([]RangeMember, 0, rg.To-rg.From)
	for i := rg.From; i < rg.To; i++ {
		if bits != "" && bits[4*(i-rg.From):][:4] != "\x00\x00\x00\x00" {
			continue // it has ended, or travels alone
		}
		if rg.Lost {
			rg.Members = append(rg.Members, RangeMember{Index: i, Profile: &Profile{}, Reason: reasons[i]})
			continue
		}
		m := &seg.members[i-seg.start]
		rg.Members = append(rg.Members, RangeMember{Index: i, Profile: m.Profile, Args: m.Args, Reason: reasons[i]})
	}
	return rg, nil
}

// forget drops what was kept of a group whose ticket is done.
func (s *Store) forget(nonce string) {
	s.mu.Lock()
	delete(s.segments, nonce)
	s.mu.Unlock()
}

// Settle writes how members of an open range ended. A range closes with its last member.
func (s *Store) Settle(ctx context.Context, ends *Ends) (record.Settled, error) {
	if ends.Len() == 0 {
		return record.Settled{Applied: true}, nil
	}
	c := conn.NewCall(settleScript, s.keys.PrefixOf(ends.of.Group), ends.args([]any{ends.of.Group}, true)...)
	c.Ends = ends.Len()
	if err := s.conn.Do(ctx, c); err != nil {
		return record.Settled{}, err
	}
	r := record.NewReply(c.Reply, c.Err)
	out, err := readEnded(r)
	if err == nil {
		out.Others = record.ReadHandOvers(r)
		err = r.Err
	}
	return out, err
}

// Leave takes a member out of its range, to travel alone: with a failure after a failed attempt, which is charged; with none
// because this worker does not know its type. The next try comes after delay; with 0 the answer has its hand-over.
func (s *Store) Leave(ctx context.Context, worker string, r *Range, index int, f *record.Failure, delay time.Duration) (record.Settled, error) {
	charged, unknown := 1, 0
	if f == nil {
		charged, unknown = 0, 1
	}
	return s.leave(ctx, worker, r, index, f, delay, charged, unknown)
}

// Apart takes a suspect out of its range, to travel alone, nothing charged. The answer has its hand-over.
func (s *Store) Apart(ctx context.Context, worker string, r *Range, index int) (record.Settled, error) {
	return s.leave(ctx, worker, r, index, nil, 0, 0, 0)
}

func (s *Store) leave(ctx context.Context, worker string, r *Range, index int, f *record.Failure, delay time.Duration, charged, unknown int) (record.Settled, error) {
	var m *RangeMember
	for i := range r.Members {
		if r.Members[i].Index == index {
			m = &r.Members[i]
		}
	}
	if m == nil {
		return record.Settled{}, fmt.Errorf("group %s: member %d is not in range %d to %d", r.Group, index, r.From, r.To)
	}
	return record.ReadSettled(s.run(ctx, leaveScript, r.Group, r.Group, r.ID, r.Number, worker, index, m.Type, r.Queue, m.Args, m.Options,
		record.Millis(m.Retention), record.DelayMillis(delay), charged, f.Encode(), unknown))
}

// ReturnRange gives members back that have not started, nothing charged; they are taken before all others. The hand-over, if there
// is one, is a new ticket: none was left.
func (s *Store) ReturnRange(ctx context.Context, worker string, r *Range, indexes []int) (record.Settled, error) {
	if len(indexes) == 0 {
		return record.Settled{Applied: true}, nil
	}
	return record.ReadSettled(s.run(ctx, returnScript, r.Group, r.Group, r.ID, r.Number, worker, runsOf(indexes)))
}

func runsOf(indexes []int) []byte {
	runs := make([]run, len(indexes))
	for i, at := range slices.Sorted(slices.Values(indexes)) {
		runs[i] = run{at, 1}
	}
	return packRuns(runs)
}

// PassTicket puts a ticket that this worker holds to the tail of its queue: the answer has its hand-over, unless nothing is unclaimed.
func (s *Store) PassTicket(ctx context.Context, worker string, t record.Ticket) (record.Settled, error) {
	_, passed, err := s.pass(ctx, worker, t, "", 0)
	return passed, err
}

// YieldTicket is PassTicket where so many deliveries and so many other workers wait in the ticket's queue. It is kept where these are all
// tickets of the same group, and workers for them.
func (s *Store) YieldTicket(ctx context.Context, worker string, t record.Ticket, deliveries, workers int) (kept bool, passed record.Settled, err error) {
	return s.pass(ctx, worker, t, deliveries, workers)
}

func (s *Store) pass(ctx context.Context, worker string, t record.Ticket, deliveries any, workers int) (kept bool, passed record.Settled, err error) {
	r := s.run(ctx, passScript, t.Group, t.Group, t.Place, t.Number, worker, deliveries, workers)
	if r.Is("kept") {
		return true, passed, nil
	}
	s.forget(t.Nonce)
	passed, err = record.ReadSettled(r)
	return false, passed, err
}

// get runs a plain command that only reads.
func get(ctx context.Context, c *conn.Conn, args ...any) (any, error) {
	call := conn.NewCommand(args...)
	if err := c.All(ctx, call); err != nil {
		return nil, err
	}
	return call.Reply, nil
}
