package tasks

import (
	"errors"
	"reflect"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// isPermanent reports whether the engine would not retry err: whether jobs.Permanent's mark is in its chain.
func isPermanent(err error) bool {
	mark := reflect.TypeOf(jobs.Permanent(errors.New("x")))
	for ; err != nil; err = errors.Unwrap(err) {
		if reflect.TypeOf(err) == mark {
			return true
		}
	}
	return false
}
