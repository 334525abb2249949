// Package names holds the rules for everything that a user may name: task types, queues, namespaces and IDs.
//
// Names are checked before any key is built from them, so none of them can reach into another key, another namespace or
// the protocol. A colon is gatherq's own: no user's name holds one.
package names

import (
	"fmt"
	"strings"
)

// Limits of names, in bytes.
const (
	MaxName    = 64         // type, queue, namespace
	MaxID      = 128        // an ID of a user's own
	MaxMembers = 10_000_000 // members of a group; indexes are below
)

// Defaults of the names that may be left out.
const (
	DefaultNamespace = "gatherq"
	DefaultQueue     = "default"
)

// Error says which name was refused and why, with the limit.
type Error struct {
	Field string // "type", "queue", "namespace", "id", "index"
	Why   string
}

func (e *Error) Error() string { return e.Field + ": " + e.Why }

// Type checks the name of a task type.
func Type(s string) error { return name("type", s) }

// Queue checks the name of a queue.
func Queue(s string) error { return name("queue", s) }

// Namespace checks the name of a namespace.
func Namespace(s string) error { return name("namespace", s) }

func name(field, s string) error {
	const rule = "must match [a-z0-9][a-z0-9._-]{0,63}"
	if err := size(field, s, MaxName); err != nil {
		return err
	}
	for i := range len(s) {
		c := s[i]
		if !lower(c) && (i == 0 || !inner(c)) {
			return &Error{Field: field, Why: fmt.Sprintf("%s, %s", quoted(s), rule)}
		}
	}
	return nil
}

// UserID checks an ID that a user chose.
func UserID(s string) error {
	const rule = "must match [A-Za-z0-9][A-Za-z0-9._-]{0,127}"
	if err := size("id", s, MaxID); err != nil {
		return err
	}
	for i := range len(s) {
		c := s[i]
		if !lower(c) && (c < 'A' || c > 'Z') && (i == 0 || !inner(c)) {
			return &Error{Field: "id", Why: fmt.Sprintf("%s, %s", quoted(s), rule)}
		}
	}
	return nil
}

// AnyID checks an ID of any origin: a user's own, a generated one ("t:" or "g:" and a UUID), a child's ("c:" and
// hexadecimal digits), or a member of one of these ("<id>:<index>").
func AnyID(s string) error {
	if err := rootID(s); err == nil {
		return nil
	} else if i := strings.LastIndexByte(s, ':'); i > 0 && rootID(s[:i]) == nil {
		return memberIndex(s[i+1:])
	} else {
		return err
	}
}

// GroupID is AnyID without members: no group is a member under that name.
func GroupID(s string) error { return rootID(s) }

// Index checks a place in a group.
func Index(i int) error {
	if i < 0 || i >= MaxMembers {
		return &Error{Field: "index", Why: fmt.Sprintf("%d, must be from 0 to %d", i, MaxMembers-1)}
	}
	return nil
}

func rootID(s string) error {
	kind, rest, ok := strings.Cut(s, ":")
	if !ok {
		return UserID(s)
	}
	switch {
	case (kind == "t" || kind == "g") && uuid(rest):
		return nil
	case kind == "c" && len(rest) >= minChild && len(rest) <= maxChild && allHex(rest):
		return nil
	}
	if len(s) > MaxID {
		return size("id", s, MaxID)
	}
	return &Error{Field: "id", Why: fmt.Sprintf(
		"%s, must match [A-Za-z0-9][A-Za-z0-9._-]{0,127}, be a generated ID (t:UUID, g:UUID, c:HEX), or a member of one (ID:INDEX)", quoted(s))}
}

// A child's ID is four digits of its root's hash and a hash of its parent and place.
const (
	minChild = 20
	maxChild = 72
)

func memberIndex(s string) error {
	bad := func() error {
		return &Error{Field: "id", Why: fmt.Sprintf("member index %s, must be a plain number from 0 to %d", quoted(s), MaxMembers-1)}
	}
	if s == "" || len(s) > 7 || (s[0] == '0' && len(s) > 1) {
		return bad() // 10,000,000 has eight digits
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return bad()
		}
	}
	return nil
}

func size(field, s string, limit int) error {
	switch {
	case s == "":
		return &Error{Field: field, Why: "is empty"}
	case len(s) > limit:
		return &Error{Field: field, Why: fmt.Sprintf("%s is %d bytes long, the limit is %d", quoted(s), len(s), limit)}
	}
	return nil
}

// quoted keeps a hostile name short and on one line.
func quoted(s string) string {
	if len(s) > 40 {
		return fmt.Sprintf("%q…", s[:40])
	}
	return fmt.Sprintf("%q", s)
}

func lower(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' }

func inner(c byte) bool { return c == '.' || c == '_' || c == '-' }

func hexDigit(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }

func allHex(s string) bool {
	for i := range len(s) {
		if !hexDigit(s[i]) {
			return false
		}
	}
	return true
}

// uuid reports whether s is a UUID as we write it: lower case, with hyphens.
func uuid(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if s[i] != '-' {
				return false
			}
		} else if !hexDigit(s[i]) {
			return false
		}
	}
	return true
}
