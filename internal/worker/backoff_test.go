package worker

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/gatherq/gatherq/internal/record"
)

func TestBackoffEndsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		w := newWorker(t, f, 1, map[string]Handler{"t": func(context.Context, *Job) Result { return failed("error", "no") }})
		for i := range 50 {
			deliver(t, w, f.task(fmt.Sprint(i), func(c *record.Claim) {
				c.Options = record.Options{Retries: 9, BackoffInitialMS: (24 * time.Hour).Milliseconds()}.Encode()
				c.Deadline = time.Now().Add(time.Second)
			}))
			synctest.Wait()
		}
		for _, x := range f.list("retry") {
			if x.delay > time.Second || x.delay <= 0 {
				t.Errorf("delay %s, the deadline is in 1 s", x.delay)
			}
		}
	})
}

func TestBackoffBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		initial := time.Duration(rapid.Int64Range(int64(time.Millisecond), int64(24*time.Hour)).Draw(t, "initial"))
		longest := time.Duration(rapid.Int64Range(int64(initial), int64(24*time.Hour)).Draw(t, "longest"))
		n := rapid.IntRange(1, 1000).Draw(t, "failed attempts")
		ceiling := longest
		if n-1 < 40 && initial<<(n-1)>>(n-1) == initial {
			ceiling = min(initial<<(n-1), longest)
		}
		for range 20 {
			if d := backoff(initial, longest, n); d < time.Millisecond || d > ceiling {
				t.Fatalf("backoff %s after %d attempts, must be in 1 ms to %s", d, n, ceiling)
			}
		}
	})
}

func TestBackoffIsFullJitter(t *testing.T) {
	low, high := 0, 0
	for range 1000 {
		if backoff(time.Second, time.Minute, 3) < 2*time.Second {
			low++
		} else {
			high++
		}
	}
	if low < 400 || high < 400 {
		t.Errorf("%d below and %d above half of 4 s, must be about equal", low, high)
	}
}

func FuzzClip(f *testing.F) {
	f.Add("abc")
	f.Add(strings.Repeat("\xff", TextMax+1))
	f.Add(strings.Repeat("x", TextMax-1) + "ä")
	f.Fuzz(func(t *testing.T, s string) {
		got := Clip(s)
		if len(got) > TextMax || !utf8.ValidString(got) {
			t.Errorf("%d bytes, valid %v", len(got), utf8.ValidString(got))
		}
		if len(s) <= TextMax && utf8.ValidString(s) && got != s {
			t.Error("a text that fits was changed")
		}
	})
}
