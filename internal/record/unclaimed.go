package record

import (
	"context"
	"strconv"
	"strings"

	"github.com/gatherq/gatherq/internal/conn"
)

// Unclaimed reports whether anything that a delivery names still waits for it: under this number, in nobody's hands. A ticket
// whose group is staged and not committed waits, too.
func (s *Store) Unclaimed(ctx context.Context, d Delivery) (bool, error) {
	var calls []*conn.Call
	for _, r := range d.Refs {
		calls = append(calls, conn.NewCommand("hmget", s.keys.Record(r.ID), "n", "h", "s"))
	}
	if t := d.Ticket; t != nil {
		calls = append(calls, conn.NewCommand("hmget", s.keys.Record(t.Group), "no", "t"+strconv.Itoa(t.Place)),
			conn.NewCommand("exists", s.keys.Args(t.Group, t.Nonce, 0)))
	}
	if err := s.conn.All(ctx, calls...); err != nil {
		return false, err
	}
	for i, ref := range d.Refs {
		r := NewReply(calls[i].Reply, nil)
		number, holder, state := r.Int(), r.Str(), State(r.Str())
		if r.Err == nil && number == ref.Number && holder == "" && state == Pending {
			return true, nil
		}
	}
	if t := d.Ticket; t != nil {
		r := NewReply(calls[len(calls)-2].Reply, nil)
		nonce, field := r.Str(), r.Str()
		staged, _ := calls[len(calls)-1].Reply.(int64)
		if nonce == "" {
			return staged == 1, r.Err
		}
		return nonce == t.Nonce && strings.HasPrefix(field, strconv.FormatInt(t.Number, 10)+";;"), r.Err
	}
	return false, nil
}
