package main

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// status is what is known of a task or group, as a line of JSON.
type status struct {
	ID              string             `json:"id"`
	IsGroup         bool               `json:"is_group"`
	Type            string             `json:"type,omitempty"`
	Queue           string             `json:"queue,omitempty"`
	Group           string             `json:"group,omitempty"`
	Index           *int               `json:"index,omitempty"`
	State           jobs.State         `json:"state"`
	Waits           string             `json:"waits,omitempty"`
	Attempt         int                `json:"attempt,omitempty"`
	Attempts        int                `json:"attempts,omitempty"`
	Delivery        int                `json:"delivery,omitempty"`
	Crashes         int                `json:"crashes,omitempty"`
	RetryOf         string             `json:"retry_of,omitempty"`
	Worker          string             `json:"worker,omitempty"`
	CancelReason    string             `json:"cancel_reason,omitempty"`
	CancelRequested *time.Time         `json:"cancel_requested_at,omitempty"`
	Members         int                `json:"members,omitempty"`
	Ended           int                `json:"ended,omitempty"`
	Counts          map[jobs.State]int `json:"counts,omitempty"`
	QueuedAt        *time.Time         `json:"queued_at,omitempty"`
	StartedAt       *time.Time         `json:"started_at,omitempty"`
	FinishedAt      *time.Time         `json:"finished_at,omitempty"`
	Deadline        *time.Time         `json:"deadline,omitempty"`
	ExpiresAt       *time.Time         `json:"expires_at,omitempty"`
}

func statusLine(in jobs.Info) status {
	moment := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	line := status{
		ID: in.ID, IsGroup: in.IsGroup, Type: in.Type, Queue: in.Queue, Group: in.Group, State: in.State, Waits: in.Waits,
		Attempt: in.Attempt, Attempts: in.Attempts, Delivery: in.Delivery, Crashes: in.Crashes, RetryOf: in.RetryOf, Worker: in.Worker,
		CancelReason: in.CancelReason, CancelRequested: moment(in.CancelRequested), Counts: in.Counts,
		QueuedAt: moment(in.QueuedAt), StartedAt: moment(in.StartedAt), FinishedAt: moment(in.FinishedAt), Deadline: moment(in.Deadline), ExpiresAt: moment(in.ExpiresAt),
	}
	if in.Group != "" {
		line.Index = &in.Index
	}
	line.Members, line.Ended = members(in)
	return line
}

// statusTable returns what is known of a task or group for people, a line for each thing.
func statusTable(in jobs.Info, now time.Time) []string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(table, "%s\t%s\n", name, oneLine(value))
		}
	}
	moment := func(name string, t time.Time) {
		if !t.IsZero() {
			row(name, t.Local().Format("2006-01-02 15:04:05.000")+"  "+distance(t, now))
		}
	}
	row("id", in.ID)
	if in.IsGroup {
		row("group of", in.Type)
	} else {
		row("type", in.Type)
	}
	row("state", string(in.State))
	row("waits", in.Waits)
	row("queue", in.Queue)
	if in.Group != "" {
		row("member", fmt.Sprintf("%d of %s", in.Index, in.Group))
	}
	row("retry of", in.RetryOf)
	if !in.IsGroup && in.Attempt > 0 {
		row("attempt", fmt.Sprintf("%d of %d", in.Attempt, max(in.Attempt, in.Attempts)))
	}
	if in.Delivery > 1 {
		row("delivery", fmt.Sprint(in.Delivery))
	}
	if in.Crashes > 0 {
		row("crashes", fmt.Sprint(in.Crashes))
	}
	row("worker", in.Worker)
	row("members", memberWords(in))
	if !in.CancelRequested.IsZero() {
		moment("cancelled", in.CancelRequested)
		row("reason", in.CancelReason)
	}
	moment("queued", in.QueuedAt)
	moment("started", in.StartedAt)
	moment("finished", in.FinishedAt)
	moment("deadline", in.Deadline)
	moment("expires", in.ExpiresAt)
	_ = table.Flush()
	return strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
}

// statusWords returns the same on one line, without what does not change.
func statusWords(in jobs.Info, now time.Time) string {
	words := []string{now.Local().Format("15:04:05.000"), in.ID, string(in.State)}
	for _, more := range []string{in.Waits, memberWords(in)} {
		if more != "" {
			words = append(words, oneLine(more))
		}
	}
	if in.Attempt > 1 {
		words = append(words, fmt.Sprintf("attempt %d of %d", in.Attempt, max(in.Attempt, in.Attempts)))
	}
	return strings.Join(words, "  ")
}

// memberWords counts the members of a group, the states that end behind the others.
func memberWords(in jobs.Info) string {
	if !in.IsGroup {
		return ""
	}
	total, ended := members(in)
	var text strings.Builder
	fmt.Fprintf(&text, "%d of %d ended", ended, total)
	var states []jobs.State
	for state, n := range in.Counts {
		if n > 0 {
			states = append(states, state)
		}
	}
	slices.SortFunc(states, func(a, b jobs.State) int {
		if a.Final() != b.Final() {
			if b.Final() {
				return -1
			}
			return 1
		}
		return strings.Compare(string(a), string(b))
	})
	for i, state := range states {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&text, "%s%d %s", sep, in.Counts[state], state)
	}
	return text.String()
}

// distance says how long t is from now.
func distance(t, now time.Time) string {
	d := now.Sub(t)
	unit := time.Millisecond
	if d.Abs() > time.Minute {
		unit = time.Second
	}
	if d < 0 {
		return "in " + (-d).Round(unit).String()
	}
	return d.Round(unit).String() + " ago"
}
