// Package record is the truth about tasks: create, claim, settle, give back, cancel, and what repairs need.
//
// A record is a hash. Every change is one script that is safe to run twice, and names the delivery number it speaks for: a
// number that is not the current one is refused. Values are opaque bytes to all scripts.
package record

import (
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
)

// Store reads and changes records. It is safe for concurrent use.
type Store struct {
	conn *conn.Conn
	keys keys.Space
}

// NewStore returns the records of a namespace.
func NewStore(c *conn.Conn, k keys.Space) *Store { return &Store{conn: c, keys: k} }

// Keys returns the names that the store uses.
func (s *Store) Keys() keys.Space { return s.keys }

// Conn returns the connection that the store uses.
func (s *Store) Conn() *conn.Conn { return s.conn }
