package core

import (
	"context"
	_ "embed"
	"fmt"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// Schema is the version of what this code keeps in Redis. Another one is one that it cannot read or write.
const Schema = 1

//go:embed lua/begin.lua
var beginSrc string

var beginScript = conn.NewForeignScript("namespace.begin", beginSrc)

// Scripts are all scripts of this package.
func Scripts() []*conn.Script { return []*conn.Script{beginScript} }

// NamespaceError is a namespace that was begun by clients that this one cannot work with: with another number of shard tags, say by one
// that was told of the cluster, so that each would look where the other never writes; or with another schema.
type NamespaceError struct {
	Namespace   string
	What        string // "shards" or "schema"
	Stored, Own int64
}

func (e *NamespaceError) Error() string {
	if e.What == "schema" {
		return fmt.Sprintf("namespace %q has schema %d in this Redis, this version works with %d: use versions of gatherq that go together, or another namespace",
			e.Namespace, e.Stored, e.Own)
	}
	return fmt.Sprintf("namespace %q has %d shards in this Redis, this client works with %d: use the same kind of client (single or cluster) everywhere",
		e.Namespace, e.Stored, e.Own)
}

// Agree makes sure, before the first write, that all clients of the namespace mean the same by its keys, and begins it where nobody
// has. After its first success it costs nothing. The error is a *NamespaceError or that of Redis.
func (e *Engine) Agree(ctx context.Context) error {
	if e.agreed.Load() {
		return nil
	}
	call := &conn.Call{Script: beginScript, Keys: []string{e.keys.Meta()}, Args: []any{e.keys.Shards(), Schema}}
	if err := e.conn.Do(ctx, call); err != nil {
		return err
	}
	return e.agrees(call)
}

// namespaceCall reads what the clients of the namespace agreed upon, for agrees.
func (e *Engine) namespaceCall() *conn.Call {
	return conn.NewCommand("hmget", e.keys.Meta(), "shards", "schema")
}

// agrees reads an answer. A namespace that nobody has begun agrees with everybody.
func (e *Engine) agrees(call *conn.Call) error {
	r := record.NewReply(call.Reply, call.Err)
	shards, schema := r.Int(), r.Int()
	switch {
	case r.Err != nil:
		return fmt.Errorf("namespace %q: %w", e.keys.Namespace(), r.Err)
	case shards == 0:
		return nil
	case shards != int64(e.keys.Shards()):
		return &NamespaceError{Namespace: e.keys.Namespace(), What: "shards", Stored: shards, Own: int64(e.keys.Shards())}
	case schema != Schema && schema != 0: // 0: begun, and its schema not written yet
		return &NamespaceError{Namespace: e.keys.Namespace(), What: "schema", Stored: schema, Own: Schema}
	}
	e.agreed.Store(schema == Schema)
	return nil
}
