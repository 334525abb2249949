package history

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
)

// Phase says what an event tells of its operation.
type Phase string

// The phases. An operation without the second event was under way when its process ended.
const (
	Invoke Phase = "invoke"
	OK     Phase = "ok"
	Fail   Phase = "fail" // it did not happen, or came to nothing; Err says why
	Info   Phase = "info" // it may have happened
)

// Kind is what an operation is.
type Kind string

// The kinds.
const (
	Create Kind = "create" // of a task: Want has its value
	Gather Kind = "gather" // of a group: Want has the values in the order of the calls
	Await  Kind = "await"  // of either, by whoever; Limit is how long it may take
	Read   Kind = "read"   // of what is in Redis in the end, by the test
	Run    Kind = "run"    // of a handler: its side effect is that it was invoked
	Fault  Kind = "fault"  // done by the test to the processes named in Procs, or to Redis
	Keys   Kind = "keys"   // what is in Redis without a time to live when all is over: Left
	Gauge  Kind = "gauge"  // what a process, or Redis where ID is "redis", has at this moment, for curves and not for the rules: Count
	Census Kind = "census" // goroutines and connections: Count before at invoke, after at ok
)

// Event is one line of a history.
type Event struct {
	At    int64 `json:"at"`   // nanoseconds of CLOCK_MONOTONIC
	Proc  int   `json:"proc"` // of the process
	Op    int   `json:"op"`   // the operation's number in its process
	Kind  Kind  `json:"kind"`
	Phase Phase `json:"phase"`

	ID       string            `json:"id,omitempty"`
	Want     []string          `json:"want,omitempty"`
	Own      map[string]string `json:"own,omitempty"`   // of a group: members that are tasks with IDs of their own, and their values
	Ends     []string          `json:"ends,omitempty"`  // of a creation: the states in which it, or each member, may end; empty: succeeded alone
	Limit    int64             `json:"limit,omitempty"` // nanoseconds
	Delivery int               `json:"delivery,omitempty"`
	Attempt  int               `json:"attempt,omitempty"`
	Outcome  *Outcome          `json:"outcome,omitempty"` // of an await or a read that saw an end
	Members  []Outcome         `json:"members,omitempty"` // of a group, in the order in which they were returned
	Err      string            `json:"err,omitempty"`     // a kind of the closed family, else the text

	Fault string         `json:"fault,omitempty"`
	Procs []int          `json:"procs,omitempty"`
	Left  []string       `json:"left,omitempty"`
	Count map[string]int `json:"count,omitempty"`
	Seed  uint64         `json:"seed,omitempty"`
}

// Outcome is a terminal record as somebody saw it. Two that saw the same record have the same Outcome.
type Outcome struct {
	ID       string `json:"id,omitempty"` // empty for a member that has a record of its own
	Index    int    `json:"index,omitempty"`
	State    string `json:"state"`
	Value    string `json:"value,omitempty"`
	Err      string `json:"err,omitempty"`
	Attempt  int    `json:"attempt,omitempty"`
	Delivery int    `json:"delivery,omitempty"`
	Worker   string `json:"worker,omitempty"`
}

// Load reads a history. A last line that is cut off is an error as any other: every event is one write.
func Load(path string) ([]Event, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var events []Event
	lines := bufio.NewScanner(bytes.NewReader(b))
	lines.Buffer(nil, 64<<20)
	for n := 1; lines.Scan(); n++ {
		d := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		d.DisallowUnknownFields()
		var e Event
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		events = append(events, e)
	}
	return events, lines.Err()
}
