package record

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
)

// End is an entry of a shard's outbox: an end that groups in other places wait for.
type End struct {
	Field   string // its place in the outbox
	ID      string
	Settled bool // of a group: its barrier, else its outcome
	Group   bool
	Member  bool // of a group: its outcome stands there
	State   State
	Value   []byte // of a task
	Failure *Failure
	Links   []Link
	Err     error // nothing but Field is known: it cannot be read
}

// Link is a place in a group that waits for an end.
type Link struct {
	Group string
	Index int
}

// Ends reads a page of the entries of a shard's outbox that are at least so old. It begins with the cursor "0" and goes on with
// the one that it answers, until that is "0" again.
func (s *Store) Ends(ctx context.Context, shard int, cursor string, age time.Duration) (out []End, next string, err error) {
	r := s.run(ctx, outboxScript, s.keys.Prefix(shard), cursor, Millis(age))
	next = r.Str()
	for r.More() {
		field := r.Str()
		e, err := parseEnd(field, r.Bytes())
		if err != nil {
			e = End{Field: field, Err: err}
		}
		out = append(out, e)
	}
	return out, next, r.Err
}

func parseEnd(field string, data []byte) (End, error) {
	f, err := unpackAll(data)
	if err != nil {
		return End{}, fmt.Errorf("outbox entry %q: %w", field, err)
	}
	if len(f) != 7 {
		return End{}, fmt.Errorf("outbox entry %q has %d fields", field, len(f))
	}
	e := End{Field: field, ID: string(f[2]), State: State(f[3]), Failure: DecodeFailure(f[5])}
	switch string(f[1]) {
	case "t":
		e.Value = f[4]
	case "o":
		e.Group = true
	case "b":
		e.Group, e.Settled = true, true
	case "m":
		e.Member = true
	}
	links, err := unpackAll(f[6])
	if err != nil {
		return e, fmt.Errorf("outbox entry %q: %w", field, err)
	}
	for _, l := range links {
		p, err := unpackAll(l)
		if err == nil && len(p) == 2 {
			var n int
			if n, err = strconv.Atoi(string(p[1])); err == nil {
				e.Links = append(e.Links, Link{Group: string(p[0]), Index: n})
			}
		}
		if err != nil {
			return e, fmt.Errorf("outbox entry %q: %w", field, err)
		}
	}
	return e, nil
}

// Told removes outbox entries whose links have all heard of them.
func (s *Store) Told(ctx context.Context, shard int, fields ...string) error {
	if len(fields) == 0 {
		return nil
	}
	args := make([]any, len(fields))
	for i, f := range fields {
		args[i] = f
	}
	return s.conn.All(ctx, conn.NewCall(toldScript, s.keys.Prefix(shard), args...))
}

// Linked is the answer to a link.
type Linked struct {
	Unknown bool
	New     bool          // nothing was noted before
	Member  bool          // of a group, and it had ended: its outcome stands there
	Outcome *Outcome      // it had ended
	Since   time.Duration // its end; long where that is not known
}

// LinkCall asks whether id has ended and else notes that a member of a group waits for it: for its barrier where settled.
func (s *Store) LinkCall(id string, settled bool, to Link) *conn.Call {
	view := "t"
	if settled {
		view = "b"
	}
	return conn.NewCall(linkScript, s.keys.PrefixOf(id), id, view, to.Group, to.Index)
}

// ReadLinked reads the answer to LinkCall.
func ReadLinked(c *conn.Call) (Linked, error) {
	r := NewReply(c.Reply, c.Err)
	switch word := r.Str(); word {
	case "linked":
		return Linked{New: r.Int() == 1}, r.Err
	case "unknown":
		return Linked{Unknown: true}, r.Err
	case "member":
		return Linked{Member: true}, r.Err
	case "ended":
		o := &Outcome{State: State(r.Str()), Value: r.Bytes(), Failure: DecodeFailure(r.Bytes())}
		switch r.Str() {
		case "o":
			o.Link, o.Value = string(o.Value), nil
		case "b":
			o.Link, o.Value, o.LinkSettled = string(o.Value), nil, true
		}
		return Linked{Outcome: o, Since: time.Duration(r.Int()) * time.Millisecond}, r.Err
	default:
		if r.Err == nil {
			r.Err = fmt.Errorf("link answered %q", word)
		}
	}
	return Linked{}, r.Err
}
