package await_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// What is stored compressed looks as it does otherwise, whichever way it is read.
func TestLargeValues(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		big, other := strings.Repeat("0123456789", 10_000), strings.Repeat("aé\"", 10_000)
		task := must[*jobs.Task[string]](t)(jobs.CreateTask(ctx, f.c, word.Call(big, jobs.ID("big"))))
		same := func(what string, got, want string, err error) {
			t.Helper()
			if err != nil || got != want {
				t.Errorf("%s: %d bytes, want %d; %v", what, len(got), len(want), err)
			}
		}
		value, err := await.Result(ctx, task)
		same("Result", value, big, err)
		out, err := await.Outcome(ctx, task)
		same("Outcome", out.Value, big, err)
		out, err = jobs.Peek(ctx, task)
		same("Peek", out.Value, big, err)
		raw, err := await.Result(ctx, jobs.TaskByID[jobs.Value](f.c, task.ID()))
		text, _ := raw.JSON()
		same("as a Value", string(text), `"`+big+`"`, err)
		if info, err := jobs.Inspect(ctx, task); err != nil || info.State != jobs.StateSucceeded {
			t.Errorf("Inspect: %+v, %v", info, err)
		}
		if stored := f.rdb.HGet(ctx, "gq:{gatherq:0}:r:big", "v").Val(); len(stored) == 0 || len(stored) > len(big)/10 {
			t.Errorf("%d bytes are stored for %d", len(stored), len(big))
		}

		inner := must[*jobs.Group[string]](t)(jobs.Gather(ctx, f.c, word.Calls(other, "x", big)))
		g := must[*jobs.Group[string]](t)(jobs.Gather(ctx, f.c, []jobs.Member[string]{
			word.Call(big), task, word.Call("small"), word.Call(other), word.Call(other, jobs.ID("own")),
		}))
		want := []string{big, big, "small", other, other}
		all, err := await.All(ctx, g)
		if err != nil || !slices.Equal(all, want) {
			t.Errorf("All: %d, %v", len(all), err)
		}
		settled, err := await.Settled(ctx, g)
		if err != nil || len(settled) != len(want) {
			t.Fatalf("Settled: %d, %v", len(settled), err)
		}
		for i, out := range settled {
			same("Settled", out.Value, want[i], out.Err)
		}
		for what, outs := range map[string]iter.Seq2[jobs.Outcome[string], error]{
			"AsCompleted": await.AsCompleted(ctx, g), "InOrder": await.InOrder(ctx, g), "AsCompleted, loose": await.AsCompleted(ctx, await.Of(task)),
		} {
			for out, err := range outs {
				same(what, out.Value, want[out.Index], errors.Join(err, out.Err))
			}
		}
		member, err := await.Result(ctx, g.Member(1))
		same("a linked member", member, big, err)

		outer := must[*jobs.Group[[]string]](t)(jobs.Gather(ctx, f.c, []jobs.Member[[]string]{inner}))
		lists, err := await.All(ctx, outer)
		if err != nil || len(lists) != 1 || !slices.Equal(lists[0], []string{other, "x", big}) {
			t.Errorf("a group of a group: %d, %v", len(lists), err)
		}
	})
}

// The same ID with the same arguments is the same task, and the limit holds for what was given, however it is stored.
func TestLargeArgumentsAreComparedAsGiven(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx, big := context.Background(), strings.Repeat("0123456789", 10_000)
		for range 2 {
			if err := second(jobs.CreateTask(ctx, f.c, word.Call(big, jobs.ID("a")))); err != nil {
				t.Error(err)
			}
		}
		if err := second(jobs.CreateTask(ctx, f.c, word.Call(big+"1", jobs.ID("a")))); !errors.Is(err, jobs.ErrConflict) {
			t.Error("other arguments: ", err)
		}
		if err := second(jobs.CreateTask(ctx, f.c, word.Call(strings.Repeat("0", 256<<10)))); !errors.Is(err, jobs.ErrRejected) {
			t.Error("over the limit: ", err)
		}
	})
}
