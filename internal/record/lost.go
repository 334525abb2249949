package record

import (
	"context"
	"errors"
	"strconv"

	"github.com/gatherq/gatherq/internal/conn"
)

// openPage is how many entries of the open work one look asks for; the least that Redis has in one piece may be more.
const openPage = 500

// Open reads a page of the entries of a shard's open work. It begins with the cursor "0" and goes on with the one that it answers, until
// that is "0" again. What is open all the while is in one of the pages, perhaps in two.
func (s *Store) Open(ctx context.Context, shard int, cursor string) (entries []string, next string, err error) {
	scan := conn.NewCommand("zscan", s.keys.Open(shard), cursor, "count", openPage)
	if err := s.conn.All(ctx, scan); err != nil {
		return nil, "", err
	}
	r := NewReply(scan.Reply, nil)
	next = r.Str()
	for list := r.List(); list.More(); {
		entries = append(entries, list.Str())
		if list.next(); list.Err != nil { // the score, a number to the embedded Redis
			return nil, "", list.Err
		}
	}
	return entries, next, r.Err
}

// Sent is what open work waits for.
type Sent struct {
	Waiting []HandOver // what was enqueued and is in nobody's hands: one task or ticket each, its message in place of its number
	Holders []string   // the workers that hold the rest
	Groups  []string   // but those that are being bound
}

// Sent looks at entries of a shard's open work, some hundred at most.
func (s *Store) Sent(ctx context.Context, shard int, entries []string) (Sent, error) {
	args := make([]any, len(entries))
	for i, e := range entries {
		args[i] = e
	}
	r := s.run(ctx, sentScript, s.keys.Prefix(shard), args...)
	var out Sent
	holders, groups, waiting := r.List(), r.List(), r.List()
	for holders.More() {
		out.Holders = append(out.Holders, holders.Str())
	}
	for groups.More() {
		out.Groups = append(out.Groups, groups.Str())
	}
	for waiting.More() {
		kind, id, place := waiting.Str(), waiting.Str(), waiting.Int()
		h := HandOver{Queue: waiting.Str(), Message: waiting.Str()}
		if kind == "ticket" {
			h.Delivery.Ticket = &Ticket{Group: id, Place: int(place)}
		} else {
			h.Delivery.Refs = []Ref{{ID: id}}
		}
		out.Waiting = append(out.Waiting, h)
	}
	return out, errors.Join(holders.Err, groups.Err, waiting.Err)
}

// waitingArgs are what scripts take of what waits for messages.
func waitingArgs(args []any, hs []HandOver) []any {
	for _, h := range hs {
		if t := h.Delivery.Ticket; t != nil {
			args = append(args, "ticket", t.Group, strconv.Itoa(t.Place), h.Message)
		}
		for _, r := range h.Delivery.Refs {
			args = append(args, "task", r.ID, "", h.Message)
		}
	}
	return args
}

// Again gives what still waits for these messages, a hundred at most, its next number, nothing charged, and returns it: enqueue it.
func (s *Store) Again(ctx context.Context, shard int, waiting []HandOver) (again []HandOver, err error) {
	r := s.run(ctx, againScript, s.keys.Prefix(shard), waitingArgs(nil, waiting)...)
	for r.More() {
		h, err := ReadHandOver(r.List())
		if err != nil {
			return again, err
		}
		again = append(again, h)
	}
	return again, r.Err
}

// Archived ends what still waits for these messages, a hundred at most, as cancelled with that reason. Groups are flagged: sweep them.
func (s *Store) Archived(ctx context.Context, shard int, waiting []HandOver, reason *Failure) (ended int, groups []string, outbox bool, err error) {
	r := s.run(ctx, archivedScript, s.keys.Prefix(shard), waitingArgs([]any{reason.Encode()}, waiting)...)
	outbox, ended = r.Int() == 1, int(r.Int())
	for r.More() {
		groups = append(groups, r.Str())
	}
	return ended, groups, outbox, r.Err
}
