package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/record"
)

func numbers(n int) []Call[int] {
	calls := make([]Call[int], n)
	for i := range calls {
		calls[i] = sum.Call(args(fmt.Sprint(i)))
	}
	return calls
}

func inspect(t *testing.T, ref Ref) Info {
	t.Helper()
	info, err := Inspect(t.Context(), ref)
	if err != nil {
		t.Fatal(ref.ID(), err)
	}
	return info
}

func TestGatherCalls(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		for _, n := range []int{1, 2, 63, 64, 65, 1000} {
			g, err := Gather(t.Context(), c, numbers(n), Queue(fmt.Sprint("q", n)), Retention(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			info := inspect(t, g)
			if !info.IsGroup || info.State != StatePending || info.Counts[StatePending] != n || info.Queue != fmt.Sprint("q", n) ||
				info.Waits != "no worker serves queue "+info.Queue {
				t.Errorf("%d: %+v", n, info)
			}
			if !strings.HasPrefix(g.ID(), "g:") {
				t.Error(g.ID())
			}
			if got := queueLength(t, rdb, "gatherq", info.Queue); got != int64(min(n, 32)) {
				t.Errorf("%d: %d tickets", n, got)
			}
			member := inspect(t, g.Member(n-1))
			if member.Group != g.ID() || member.Index != n-1 || member.State != StatePending {
				t.Errorf("%+v", member)
			}
			if _, err := Inspect(t.Context(), TaskByID[int](c, fmt.Sprint(g.ID(), ":", n))); !errors.Is(err, ErrUnknown) {
				t.Error("a member beyond the last:", err)
			}
		}
		if s := c.Stats(); s.Gathered != 6 || s.Created != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// The members' own queue carries the group, also where tasks that exist stand before the first call.
func TestGatherTakesTheQueueOfItsCalls(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		images := Define[json.RawMessage, int]("image", Queue("images"))
		task, err := CreateTask(t.Context(), c, sum.Call(args(`1`)))
		if err != nil {
			t.Fatal(err)
		}
		g, err := Gather(t.Context(), c, []Member[int]{task, task, images.Call(args(`1`)), images.Call(args(`2`))})
		if err != nil {
			t.Fatal(err)
		}
		if info := inspect(t, g); info.Queue != "images" || queueLength(t, rdb, "gatherq", "images") != 2 {
			t.Errorf("%+v", info)
		}
		if g, err = Gather(t.Context(), c, images.Calls(args(`1`)), Queue("bulk")); err != nil || inspect(t, g).Queue != "bulk" {
			t.Error("the gather's queue does not win over the definition's:", err)
		}
	})
}

func TestGatherOfNone(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		none := func(func(Call[int]) bool) {}
		for _, gather := range []func() (*Group[int], error){
			func() (*Group[int], error) { return Gather(t.Context(), c, sum.Calls()) },
			func() (*Group[int], error) { return Gather(t.Context(), c, sum.Calls(), ID("none")) },
			func() (*Group[int], error) { return GatherSeq(t.Context(), c, iter.Seq[Call[int]](none)) },
		} {
			g, err := gather()
			if err != nil {
				t.Fatal(err)
			}
			if info := inspect(t, g); info.State != StateSucceeded || info.FinishedAt.IsZero() || info.ExpiresAt.IsZero() {
				t.Errorf("%+v", info)
			}
		}
	})
}

// Members that exist, several times over, calls with IDs, groups and their views.
func TestGatherMixedMembers(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		done, err := CreateTask(t.Context(), c, sum.Call(args(`1`), ID("done")))
		if err != nil {
			t.Fatal(err)
		}
		end(t, c, "done", record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte("1"))})
		open, err := CreateTask(t.Context(), c, sum.Call(args(`1`)))
		if err != nil {
			t.Fatal(err)
		}
		twice := sum.Call(args(`7`))
		named := sum.Call(args(`8`), ID("named"), Queue("low"))
		g, err := Gather(t.Context(), c, []Member[int]{done, open, twice, open, twice, named, named, sum.Call(args(`9`), Delay(time.Hour))})
		if err != nil {
			t.Fatal(err)
		}
		info := inspect(t, g)
		if info.Counts[StateSucceeded] != 1 || info.State.Final() {
			t.Errorf("%+v", info)
		}
		if info := inspect(t, TaskByID[int](c, "named")); info.State != StatePending || info.Queue != "low" {
			t.Errorf("%+v", info)
		}
		outer, err := Gather(t.Context(), c, Mixed(g, g.Settled(), done, sum.Call(args(`1`))))
		if err != nil {
			t.Fatal(err)
		}
		if info := inspect(t, outer); info.Counts[StateSucceeded] != 1 {
			t.Errorf("%+v", info)
		}
		if _, err := Gather(t.Context(), c, []*Group[int]{g, g}); err != nil {
			t.Error(err)
		}
		if _, err := Gather(t.Context(), c, []Awaitable[[]Outcome[int]]{g.Settled()}); err != nil {
			t.Error(err)
		}
	})
}

// A gather with an ID is the same one only with the same members in the same places.
func TestDecision44_GatherConflicts(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		if _, err := Gather(t.Context(), c, numbers(100), ID("g")); err != nil {
			t.Fatal(err)
		}
		task, err := CreateTask(t.Context(), c, sum.Call(args(`1`), ID("task")))
		if err != nil {
			t.Fatal(err)
		}
		before := keysNow(t, rdb)
		swapped := numbers(100)
		swapped[0], swapped[1] = swapped[1], swapped[0]
		for name, test := range map[string]struct {
			err  error
			want error
		}{
			"same":              {second(Gather(t.Context(), c, numbers(100), ID("g"))), nil},
			"same, options":     {second(Gather(t.Context(), c, numbers(100), ID("g"), Retries(3))), nil},
			"same, a sequence":  {second(GatherSeq(t.Context(), c, slices.Values(numbers(100)), ID("g"))), nil},
			"rerun, unfinished": {second(Gather(t.Context(), c, numbers(100), ID("g"), OnConflict(ConflictRerun))), nil},
			"error":             {second(Gather(t.Context(), c, numbers(100), ID("g"), OnConflict(ConflictError))), ErrConflict},
			"fewer":             {second(Gather(t.Context(), c, numbers(99), ID("g"))), ErrConflict},
			"more":              {second(Gather(t.Context(), c, numbers(101), ID("g"))), ErrConflict},
			"none":              {second(Gather(t.Context(), c, numbers(0), ID("g"))), ErrConflict},
			"order":             {second(Gather(t.Context(), c, swapped, ID("g"))), ErrConflict},
			"a task's ID":       {second(Gather(t.Context(), c, numbers(1), ID("task"))), ErrConflict},
			"as a task":         {second(CreateTask(t.Context(), c, sum.Call(args(`1`), ID("g")))), ErrConflict},
			"a link":            {second(Gather(t.Context(), c, []*Task[int]{task}, ID("g"))), ErrConflict},
			"a member's args":   {second(Gather(t.Context(), c, append(numbers(10), sum.Call(args(`2`), ID("task"))))), ErrConflict},
			"a member's policy": {second(Gather(t.Context(), c, append(numbers(10), sum.Call(args(`1`), ID("task"), OnConflict(ConflictError))))), ErrConflict},
			"a member's group":  {second(Gather(t.Context(), c, append(numbers(10), sum.Call(args(`1`), ID("g"))))), ErrConflict},
			"one ID, two calls": {second(Gather(t.Context(), c, []Call[int]{sum.Call(args(`1`), ID("new")), sum.Call(args(`2`), ID("new"))})), ErrConflict},
			"its own member":    {second(Gather(t.Context(), c, []Call[int]{sum.Call(args(`1`), ID("self"))}, ID("self"))), ErrRejected},
			"itself":            {second(Gather(t.Context(), c, []*Task[int]{TaskByID[int](c, "self")}, ID("self"))), ErrRejected},
			"its member":        {second(Gather(t.Context(), c, []*Task[int]{TaskByID[int](c, "self:0")}, ID("self"))), ErrRejected},
		} {
			if test.want == nil && test.err != nil || test.want != nil && !errors.Is(test.err, test.want) {
				t.Errorf("%s: %v, want %v", name, test.err, test.want)
			}
		}
		if after := keysNow(t, rdb); !slices.Equal(before, after) {
			t.Errorf("left: %v, before %v", after, before)
		}
	})
}

// A source that fails, a bad call in the middle, a panic: the error with its place, and nothing remains.
func TestDecision16_AFailingSourceLeavesNothing(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		broken := errors.New("line 5001: unexpected end")
		source := func(n int, last func() (Call[int], error)) iter.Seq2[Call[int], error] {
			return func(yield func(Call[int], error) bool) {
				for i := range n {
					if !yield(sum.Call(args(fmt.Sprint(i))), nil) {
						return
					}
				}
				if call, err := last(); !yield(call, err) || err != nil {
					return
				}
				yield(sum.Call(args(`"after the bad one"`)), nil)
			}
		}
		for _, n := range []int{0, 1, 64, 5000, 20_000} {
			_, err := GatherSeq2(t.Context(), c, source(n, func() (Call[int], error) { return Call[int]{}, broken }))
			if err != broken { //nolint:errorlint // as it is
				t.Error(n, err)
			}
			for _, bad := range []Call[int]{{}, sum.Call(args(`{`)), sum.Call(args(`1`), Retries(-1))} {
				_, err = GatherSeq2(t.Context(), c, source(n, func() (Call[int], error) { return bad, nil }))
				if r, ok := errors.AsType[*RejectedError](err); !ok || r.Index != n {
					t.Error(n, err)
				}
			}
			func() {
				defer func() {
					if recover() != "boom" {
						t.Error(n, "the panic is gone")
					}
				}()
				_, _ = GatherSeq2(t.Context(), c, source(n, func() (Call[int], error) { panic("boom") }))
			}()
			ctx, stop := context.WithCancel(t.Context())
			_, err = GatherSeq2(ctx, c, source(n, func() (Call[int], error) { stop(); return sum.Call(args(`1`)), nil }))
			if !errors.Is(err, context.Canceled) || errors.Is(err, ErrIndeterminate) {
				t.Error(n, err)
			}
			stop()
			eventually(t, "an empty Redis", func() bool { return len(keysNow(t, rdb)) == 0 })
		}
		for _, err := range []error{
			second(GatherSeq(t.Context(), c, iter.Seq[Call[int]](nil))),
			second(GatherSeq2(t.Context(), c, iter.Seq2[Call[int], error](nil))),
		} {
			if !errors.Is(err, ErrRejected) {
				t.Error(err)
			}
		}
	})
}

func TestGatherRefusesNilMembers(t *testing.T) {
	c := newClient(t, unreachable(t), ClientConfig{})
	other := newClient(t, unreachable(t), ClientConfig{Namespace: "other"})
	good := sum.Call(args(`1`))
	var task *Task[int]
	var group *Group[int]
	for name, err := range map[string]error{
		"nil":               second(Gather(t.Context(), c, []Member[int]{good, nil})),
		"nil task":          second(Gather(t.Context(), c, []Member[int]{good, task})),
		"nil tasks":         second(Gather(t.Context(), c, []*Task[int]{TaskByID[int](c, "a"), nil})),
		"nil group":         second(Gather(t.Context(), c, Mixed(good, group))),
		"mixed nil":         second(Gather(t.Context(), c, Mixed(good, nil))),
		"zero task":         second(Gather(t.Context(), c, []*Task[int]{TaskByID[int](c, "a"), {}})),
		"bad ID":            second(Gather(t.Context(), c, []*Task[int]{TaskByID[int](c, "a"), TaskByID[int](c, "a b")})),
		"another namespace": second(Gather(t.Context(), c, []*Task[int]{TaskByID[int](c, "a"), TaskByID[int](other, "a")})),
		"zero call":         second(Gather(t.Context(), c, []Call[int]{good, {}})),
		"a sequence":        second(GatherSeq(t.Context(), c, slices.Values([]Member[int]{TaskByID[int](c, "a"), nil}))),
	} {
		if r, ok := errors.AsType[*RejectedError](err); !ok || r.Index != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestGatherLater(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		g, err := Gather(t.Context(), c, numbers(10), Delay(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		if info := inspect(t, g); info.State != StateScheduled || !strings.HasPrefix(info.Waits, "starts at ") {
			t.Errorf("%+v", info)
		}
		if n := queueLength(t, rdb, "gatherq", "default"); n != 0 {
			t.Error(n, "tickets before the time")
		}
	})
}

// A long sequence is not held: the memory at its end is that of a few segments.
func TestGatherSeqMemoryIsBounded(t *testing.T) {
	rdb := realRedis(t)
	c := newClient(t, rdb, ClientConfig{})
	const n, size = 40_000, 1000
	body := strings.Repeat("x", size)
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	most := uint64(0)
	g, err := GatherSeq(t.Context(), c, func(yield func(Call[int]) bool) {
		for i := range n {
			if i%5_000 == 4_999 {
				runtime.GC()
				runtime.ReadMemStats(&now)
				most = max(most, now.HeapAlloc)
			}
			if !yield(sum.Call(args(`"` + body + `"`))) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 15<<20 {
		t.Errorf("%d MiB held for %d MiB of arguments", grown>>20, n*size>>20)
	}
	if info := inspect(t, g); info.Counts[StatePending] != n {
		t.Errorf("%+v", info)
	}
}

func TestCancel(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		task, err := CreateTask(t.Context(), c, sum.Call(args(`1`), ID("task")))
		if err != nil {
			t.Fatal(err)
		}
		group, err := Gather(t.Context(), c, []Member[int]{task, sum.Call(args(`1`)), sum.Call(args(`2`))}, ID("group"))
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := Cancel(t.Context(), group.Member(1), "one"); !ok || err != nil {
			t.Error(ok, err)
		}
		info := inspect(t, group.Member(1))
		if info.State != StateCancelled {
			t.Errorf("%+v", info)
		}
		// the outcome is there: the group's cancel comes too late, the Settled view's does not
		if ok, err := Cancel(t.Context(), group, "all"); ok || err != nil {
			t.Error("after the outcome:", ok, err)
		}
		if ok, err := Cancel(t.Context(), group.Settled(), "all"); !ok || err != nil {
			t.Error("before the barrier:", ok, err)
		}
		if ok, err := Cancel(t.Context(), group.Settled(), "all"); ok || err != nil {
			t.Error("after the barrier:", ok, err)
		}
		if info := inspect(t, task); info.State != StateCancelled || info.FinishedAt.IsZero() || info.CancelReason != "all" {
			t.Errorf("%+v", info)
		}
		if ok, err := Cancel(t.Context(), task, "again"); ok || err != nil {
			t.Error("an ended task:", ok, err)
		}
		for _, ref := range []Ref{TaskByID[int](c, "nobody"), GroupByID[int](c, "nobody"), GroupByID[int](c, "nobody").Settled(), TaskByID[int](c, "nobody:0")} {
			if ok, err := Cancel(t.Context(), ref, ""); ok || !errors.Is(err, ErrUnknown) {
				t.Error(ref.ID(), ok, err)
			}
			if _, err := Inspect(t.Context(), ref); !errors.Is(err, ErrUnknown) {
				t.Error(ref.ID(), err)
			}
		}
	})
}

func TestCancelIsARequestToWhatRuns(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		task, err := CreateTask(t.Context(), c, sum.Call(args(`1`), Retries(2)))
		if err != nil {
			t.Fatal(err)
		}
		ref := record.Ref{ID: task.ID(), Number: 1}
		if _, err := c.engine.Records().Claim(t.Context(), "w", "n", ref); err != nil {
			t.Fatal(err)
		}
		if info := inspect(t, task); info.State != StateRunning || info.Worker != "w" || info.Attempts != 3 || info.Waits != "" {
			t.Errorf("%+v", info)
		}
		for _, reason := range []string{"first", "second"} {
			if ok, err := Cancel(t.Context(), task, reason); !ok || err != nil {
				t.Error(ok, err)
			}
		}
		if info := inspect(t, task); info.State != StateCancelling || info.CancelReason != "first" || info.CancelRequested.IsZero() {
			t.Errorf("%+v", info)
		}
	})
}

func TestCancelReason(t *testing.T) {
	c := newClient(t, unreachable(t), ClientConfig{})
	task := TaskByID[int](c, "a")
	for reason, bad := range map[string]bool{strings.Repeat("r", 1001): true, "\xff": true, strings.Repeat("r", 1000): false} {
		_, err := Cancel(expired(t), task, reason)
		if errors.Is(err, ErrRejected) != bad {
			t.Errorf("%.3q: %v", reason, err)
		}
	}
	var none *Task[int]
	for _, ref := range []Ref{none, &Task[int]{}, TaskByID[int](c, "a b"), TaskByID[int](nil, "a")} {
		if _, err := Cancel(t.Context(), ref, ""); !errors.Is(err, ErrRejected) {
			t.Error(err)
		}
		if _, err := Inspect(t.Context(), ref); !errors.Is(err, ErrRejected) {
			t.Error(err)
		}
	}
}

// Why a task waits, in one line.
func TestInspectSaysWhy(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		task, err := CreateTask(t.Context(), c, sum.Call(args(`1`), Queue("low"), Retries(5), Deadline(time.Now().Add(time.Hour))))
		if err != nil {
			t.Fatal(err)
		}
		want := func(text string) {
			t.Helper()
			if info := inspect(t, task); info.Waits != text && !strings.HasPrefix(info.Waits, text+" ") {
				t.Errorf("%+v, want %q", info, text)
			}
		}
		want("no worker serves queue low")
		k := c.engine.Keys()
		rdb.ZAdd(t.Context(), k.Workers(), redis.Z{Score: float64(time.Now().UnixMilli()), Member: "w"})
		want("no worker serves queue low")
		rdb.HSet(t.Context(), k.Worker("w"), "queues", `{"default":1}`)
		want("no worker serves queue low")
		rdb.HSet(t.Context(), k.Worker("w"), "queues", `{"default":1,"low":2}`)
		want("waits for a worker")
		rdb.Set(t.Context(), k.AsynqPaused("low"), "1", 0)
		want("queue low is paused")
		ref := record.Ref{ID: task.ID(), Number: 1}
		if _, err := c.engine.Records().Claim(t.Context(), "w", "n", ref); err != nil {
			t.Fatal(err)
		}
		want("")
		if _, err := c.engine.Records().Retry(t.Context(), "w", ref, &record.Failure{Kind: "error", Message: "x"}, time.Minute); err != nil {
			t.Fatal(err)
		}
		want("attempt 2 at")
		if info := inspect(t, task); info.Deadline.IsZero() || info.Attempts != 6 || info.Attempt != 2 {
			t.Errorf("%+v", info)
		}
	})
}
