package jobs

import (
	"errors"
	"strings"

	"github.com/gatherq/gatherq/internal/names"
)

func checkType(name string) *RejectedError  { return refusal(names.Type(name)) }
func checkQueue(name string) *RejectedError { return refusal(names.Queue(name)) }

// checkID takes a user's own ID or a generated one, so that a creation of unknown end can be repeated under the ID that its
// error told.
func checkID(id string) *RejectedError {
	if strings.HasPrefix(id, taskPrefix) || strings.HasPrefix(id, groupPrefix) {
		return refusal(names.GroupID(id))
	}
	return refusal(names.UserID(id))
}

// checkKind refuses the generated ID of a group for a task, and the other way round.
func checkKind(id, other string) *RejectedError {
	if strings.HasPrefix(id, other) {
		return rejected("id", "generated IDs of tasks begin with "+taskPrefix+", those of groups with "+groupPrefix)
	}
	return nil
}

// What generated IDs begin with, before a UUID of version 7.
const (
	taskPrefix  = "t:"
	groupPrefix = "g:"
)

// refusal makes the error of package names one of ours.
func refusal(err error) *RejectedError {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*names.Error](err); ok {
		return rejected(e.Field, e.Why)
	}
	return rejected("name", err.Error())
}
