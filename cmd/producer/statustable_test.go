package main

import (
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/pkg/jobs"
)

func TestStatusTable(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.Local)
	for _, tc := range []struct {
		name string
		in   jobs.Info
		want string
		line string
	}{
		{
			name: "a task that retries",
			in: jobs.Info{
				ID: "t:1", Type: "sim", Queue: "low", State: jobs.StateRetrying, Waits: "attempt 3 at 12:00:05 UTC", Attempt: 3, Attempts: 6,
				Delivery: 4, Crashes: 1, QueuedAt: now.Add(-90 * time.Second), StartedAt: now.Add(-250 * time.Millisecond),
			},
			want: `id        t:1
type      sim
state     retrying
waits     attempt 3 at 12:00:05 UTC
queue     low
attempt   3 of 6
delivery  4
crashes   1
queued    2026-05-04 11:58:30.000  1m30s ago
started   2026-05-04 11:59:59.750  250ms ago`,
			line: `12:00:00.000  t:1  retrying  attempt 3 at 12:00:05 UTC  attempt 3 of 6`,
		},
		{
			name: "a cancelled group",
			in: jobs.Info{
				ID: "g", IsGroup: true, Queue: "default", State: jobs.StateCancelling, CancelReason: "no\x1b[2J", CancelRequested: now,
				Counts: map[jobs.State]int{
					jobs.StateSucceeded: 3, jobs.StateRunning: 2, jobs.StateCancelled: 1, jobs.StatePending: 4, jobs.StateLost: 0,
				},
				ExpiresAt: now.Add(time.Hour),
			},
			want: `id         g
state      cancelling
queue      default
members    4 of 10 ended: 4 pending, 2 running, 1 cancelled, 3 succeeded
cancelled  2026-05-04 12:00:00.000  0s ago
reason     no\u001b[2J
expires    2026-05-04 13:00:00.000  in 1h0m0s`,
			line: `12:00:00.000  g  cancelling  4 of 10 ended: 4 pending, 2 running, 1 cancelled, 3 succeeded`,
		},
		{
			name: "a member",
			in:   jobs.Info{ID: "g:0", Group: "g", Type: "echo", State: jobs.StateSucceeded, Attempt: 1, Worker: "w1"},
			want: `id       g:0
type     echo
state    succeeded
member   0 of g
attempt  1 of 1
worker   w1`,
			line: `12:00:00.000  g:0  succeeded`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := strings.Join(statusTable(tc.in, now), "\n"); got != tc.want {
				t.Errorf("got\n%s\nwant\n%s", got, tc.want)
			}
			if got := statusWords(tc.in, now); got != tc.line {
				t.Errorf("got\n%s\nwant\n%s", got, tc.line)
			}
		})
	}
}

func TestStatusLine(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for want, in := range map[string]jobs.Info{
		`{"id":"g:0","is_group":false,"group":"g","index":0,"state":"running","started_at":"2026-05-04T12:00:00Z"}`: {
			ID: "g:0", Group: "g", State: jobs.StateRunning, StartedAt: at,
		},
		`{"id":"g","is_group":true,"state":"failed","members":3,"ended":2,"counts":{"failed":1,"running":1,"succeeded":1}}`: {
			ID: "g", IsGroup: true, State: jobs.StateFailed,
			Counts: map[jobs.State]int{jobs.StateFailed: 1, jobs.StateRunning: 1, jobs.StateSucceeded: 1},
		},
	} {
		got, err := encode(statusLine(in))
		if err != nil || string(got) != want {
			t.Errorf("got\n%s, %v\nwant\n%s", got, err, want)
		}
	}
}

// What is drawn over is what was drawn before, no more.
func TestScreen(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	s := &screen{w: &b, inPlace: true}
	s.draw([]string{"one", "two"})
	s.draw([]string{"three"})
	want := "one\x1b[K\ntwo\x1b[K\n\x1b[J" + "\x1b[2A" + "three\x1b[K\n\x1b[J"
	if b.String() != want {
		t.Errorf("drew %q, want %q", b.String(), want)
	}
}
