package record

import (
	"bytes"
	"context"
	"strconv"

	"github.com/gatherq/gatherq/internal/conn"
)

// Known answers what Create would answer now, and stores nothing. Between the two somebody else may create the same ID.
func (s *Store) Known(ctx context.Context, tasks ...NewTask) ([]CreateStatus, error) {
	calls := make([]*conn.Call, 0, 2*len(tasks))
	for _, t := range tasks {
		calls = append(calls, conn.NewCommand("hmget", s.keys.Record(t.ID), "k", "dg", "n", "s"), conn.NewCommand("get", s.keys.Tombstone(t.ID)))
	}
	if err := s.conn.Do(ctx, calls...); err != nil {
		return nil, err
	}
	out := make([]CreateStatus, len(tasks))
	for i, t := range tasks {
		r := NewReply(calls[2*i].Reply, calls[2*i].Err)
		kind, digest, _, state := r.Str(), r.Bytes(), r.Str(), State(r.Str())
		if r.Err != nil {
			return nil, r.Err
		}
		if err := calls[2*i+1].Err; err != nil {
			return nil, err
		}
		if tomb, ok := calls[2*i+1].Reply.(string); ok && kind == "" {
			f, err := unpackAll([]byte(tomb))
			if err != nil || len(f) < 4 {
				return nil, &TombError{ID: t.ID, Fields: len(f)}
			}
			digest, state, kind = f[0], State(f[2]), string(f[3])
		}
		out[i] = known(t, kind, digest, state)
	}
	return out, nil
}

// known follows create.lua.
func known(t NewTask, kind string, digest []byte, state State) CreateStatus {
	switch {
	case kind == "":
		return New
	case kind != "t" || !bytes.Equal(digest, t.Digest):
		return ConflictArgs
	case t.OnConflict == Error:
		return ConflictID
	case t.OnConflict == Rerun && state.Final() && state != Succeeded:
		return New
	}
	return Existing
}

// TombError is a tombstone that this version cannot read.
type TombError struct {
	ID     string
	Fields int
}

func (e *TombError) Error() string {
	return "tombstone of " + e.ID + " of " + strconv.Itoa(e.Fields) + " fields does not parse"
}
