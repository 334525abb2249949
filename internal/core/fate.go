package core

import (
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// Fate is how a task, a member or a group stands or ended.
type Fate struct {
	record.Outcome

	// IsMember says that Index is its place in a group or among the members of a loose set.
	IsMember bool

	// Total is how many members a group has.
	Total int

	// First is, of a group that failed, the member that decided its outcome; nil where it was cancelled as a whole.
	First *Fate

	// Raw is the value, where it succeeded.
	Raw Raw
}

// Name returns its ID. That of a member is made of its group's when it is asked for, since most are not.
func (f *Fate) Name() string {
	if f.ID == "" && f.IsMember && f.Group != "" {
		return keys.Member(f.Group, f.Index)
	}
	return f.ID
}

// member makes f of the outcome of a group's member that stands in it.
func (f *Fate) member() {
	f.IsMember = true
	f.Raw.Leaf, f.Value = f.Value, nil
}

// Raw is a value as Redis holds it, nothing decoded: one leaf, or a list of fates.
type Raw struct {
	Leaf []byte // in its envelope; nil of a list

	IsList bool   // the value of a group
	Items  bool   // of its Settled view: failures are items
	List   []Fate // the members in call order
}

// OpenFate is a member at a place of which nothing is known; group "" is a loose set.
func OpenFate(group string, place int) *Fate {
	f := &Fate{Outcome: record.Outcome{Group: group, Index: place, State: record.Pending}, IsMember: true}
	if group != "" {
		f.ID = keys.Member(group, place)
	}
	return f
}
