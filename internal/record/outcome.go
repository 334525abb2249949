package record

import (
	"encoding/json"
	"time"
)

// State is a task's or group's state, in the words of the command line.
type State string

// The states.
const (
	Scheduled  State = "scheduled"
	Pending    State = "pending"
	Running    State = "running"
	Suspended  State = "suspended"
	Retrying   State = "retrying"
	Cancelling State = "cancelling"
	Finishing  State = "finishing"

	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
	TimedOut  State = "timed_out"
	CrashLoop State = "crash_loop"
	Lost      State = "lost"
	Expired   State = "expired"
)

// Final reports whether s is an end.
func (s State) Final() bool {
	switch s {
	case Succeeded, Failed, Cancelled, TimedOut, CrashLoop, Lost, Expired:
		return true
	}
	return false
}

// Failure is how a task ended when not with a value, as stored: the JSON in the field "e". It holds nothing of the user's that JSON
// would change: messages are text.
type Failure struct {
	Kind    string   `json:"k"`
	Message string   `json:"m,omitempty"`
	Codes   []string `json:"c,omitempty"`
	Stack   string   `json:"s,omitempty"`
}

// Encode returns the stored form.
func (f *Failure) Encode() []byte {
	if f == nil {
		return nil
	}
	b, _ := json.Marshal(f) //nolint:errchkjson // strings only
	return b
}

// DecodeFailure reads the stored form; nil for none. What does not decode is a failure whose message says so.
func DecodeFailure(b []byte) *Failure {
	if len(b) == 0 {
		return nil
	}
	f := &Failure{}
	if err := json.Unmarshal(b, f); err != nil || f.Kind == "" {
		return &Failure{Kind: "error", Message: "undecodable failure in the record"}
	}
	return f
}

// Outcome is how a task or a member stands or ended, undecoded.
type Outcome struct {
	ID         string
	Type       string
	State      State
	Value      []byte // envelope, see Envelope; nil unless Succeeded
	Failure    *Failure
	Attempt    int   // 1 + charged failures
	Delivery   int64 // the number that ended it, or the newest
	Worker     string
	Started    bool
	QueuedAt   time.Time
	StartedAt  time.Time // zero: it never started
	FinishedAt time.Time

	// Link is set where the value is another group's: read it there.
	Link        string
	LinkSettled bool // of its Settled view

	Group string // of a member
	Index int    // of a member
	Order int    // of a member: place in the recording order, from 1
}
