package await_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

func TestResult(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		task := must[*jobs.Task[int]](t)(jobs.CreateTask(ctx, f.c, double.Call(21)))
		for range 3 { // reading consumes nothing
			if got, err := await.Result(ctx, task); err != nil || got != 42 {
				t.Fatalf("%d, %v", got, err)
			}
		}
		other := f.client(jobs.ClientConfig{})
		if got, err := await.Result(ctx, jobs.TaskByID[int](other, task.ID())); err != nil || got != 42 {
			t.Errorf("from another client: %d, %v", got, err)
		}
		v := must[jobs.Value](t)(await.Result(ctx, jobs.TaskByID[jobs.Value](f.c, task.ID())))
		if b, err := v.JSON(); err != nil || string(b) != "42" {
			t.Errorf("as a Value: %s, %v", b, err)
		}
		if _, err := await.Result(ctx, jobs.TaskByID[string](f.c, task.ID())); !errors.Is(err, jobs.ErrUndecodable) {
			t.Errorf("as a string: %v", err)
		}
		out, err := await.Outcome(ctx, task)
		if err != nil || out.State != jobs.StateSucceeded || out.Value != 42 || out.Attempt != 1 || out.Delivery < 1 || out.Worker == "" ||
			out.QueuedAt.IsZero() || out.StartedAt.Before(out.QueuedAt) || out.FinishedAt.Before(out.StartedAt) {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

func TestFailure(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		task := must[*jobs.Task[int]](t)(jobs.CreateTask(ctx, f.c, fails.Call("a.png")))
		_, err := await.Result(ctx, task)
		e, _ := errors.AsType[*jobs.Error](err)
		if !errors.Is(err, jobs.ErrFailed) || !errors.Is(err, errNoImage) || e == nil || e.ID != task.ID() || e.Attempt != 1 || !e.Started {
			t.Fatalf("%#v", err)
		}
		out, err := await.Outcome(ctx, task)
		if err != nil || out.State != jobs.StateFailed || !errors.Is(out.Err, errNoImage) {
			t.Errorf("%+v, %v", out, err)
		}
	})
}

func TestUnknownAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		begin := time.Now()
		_, err := await.Result(ctx, jobs.TaskByID[int](f.c, "nobody"))
		if !errors.Is(err, jobs.ErrUnknown) || time.Since(begin) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if _, err := await.Outcome(ctx, jobs.TaskByID[int](f.c, "nobody:3")); !errors.Is(err, jobs.ErrUnknown) {
			t.Errorf("member: %v", err)
		}
		g := jobs.GroupByID[int](f.c, "nobody")
		if _, err := await.All(ctx, g); !errors.Is(err, jobs.ErrUnknown) {
			t.Errorf("All: %v", err)
		}
		if _, err := await.Settled(ctx, g); !errors.Is(err, jobs.ErrUnknown) {
			t.Errorf("Settled: %v", err)
		}
		for _, err := range await.AsCompleted(ctx, g) {
			if !errors.Is(err, jobs.ErrUnknown) {
				t.Errorf("AsCompleted: %v", err)
			}
		}
		for _, err := range await.InOrder(ctx, g) {
			if !errors.Is(err, jobs.ErrUnknown) {
				t.Errorf("InOrder: %v", err)
			}
		}
		if _, err := jobs.Peek(ctx, jobs.TaskByID[int](f.c, "nobody")); !errors.Is(err, jobs.ErrUnknown) {
			t.Errorf("Peek: %v", err)
		}
	})
}

func TestRefusedHandles(t *testing.T) {
	ctx := t.Context()
	var none *jobs.Task[int]
	for name, err := range map[string]error{
		"nil task":      second(await.Result(ctx, none)),
		"nil group":     second(await.All(ctx, (*jobs.Group[int])(nil))),
		"nil set":       second(await.All(ctx, jobs.Set[int](nil))),
		"zero group":    second(await.Settled(ctx, &jobs.Group[int]{})),
		"no client":     second(await.Outcome(ctx, jobs.TaskByID[int](nil, "a"))),
		"nil in a set":  second(await.All(ctx, await.Of(none))),
		"nil in mixed":  second(await.Settled(ctx, await.Mixed(nil))),
		"targets":       await.Into(ctx, await.Mixed(), new(int)),
		"target":        await.Into(ctx, await.Mixed(none), 3),
		"after, loose":  last(await.AsCompleted(ctx, await.Of(none), await.After(3))),
		"after, below":  last(await.InOrder(ctx, &jobs.Group[int]{}, await.After(-1))),
		"option":        last(await.InOrder(ctx, &jobs.Group[int]{}, nil)),
		"nil, iterated": last(await.AsCompleted(ctx, jobs.Set[int](nil))),
	} {
		if !errors.Is(err, jobs.ErrRejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got, err := await.All(ctx, await.Mixed()); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
}

func second[T any](_ T, err error) error { return err }

// last drains an iterator and returns its error.
func last[R any](seq func(func(jobs.Outcome[R], error) bool)) (err error) {
	for _, e := range seq {
		err = e
	}
	return err
}

func TestAll(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		const n = 3000
		args, want := make([]int, n), make([]int, n)
		for i := range args {
			args[i], want[i] = i, 2*i
		}
		g := must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, double.Calls(args...)))
		got, err := await.All(ctx, g)
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%d values, %v", len(got), err)
		}
		if got, err := await.Result(ctx, g); err != nil || !slices.Equal(got, want) {
			t.Errorf("Result: %d values, %v", len(got), err)
		}
		i := 0
		for out, err := range await.InOrder(ctx, g) {
			if err != nil || out.Index != i || out.Value != want[i] || out.ID != fmt.Sprintf("%s:%d", g.ID(), i) {
				t.Fatalf("InOrder at %d: %+v, %v", i, out, err)
			}
			i++
		}
		if i != n {
			t.Errorf("InOrder: %d members", i)
		}
		for range 10 {
			from := rand.IntN(n)
			next := from
			for out, err := range await.AsCompleted(ctx, g, await.After(from)) {
				if next++; err != nil || out.Order != next || out.Value != want[out.Index] {
					t.Fatalf("AsCompleted after %d at %d: %+v, %v", from, next, out, err)
				}
			}
			if next != n {
				t.Fatalf("AsCompleted after %d ended at %d", from, next)
			}
		}
		if got := must[int](t)(await.Result(ctx, g.Member(1234))); got != 2468 {
			t.Errorf("member: %d", got)
		}
		if got, err := await.All(ctx, must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, double.Calls()))); err != nil || len(got) != 0 {
			t.Errorf("of nothing: %v, %v", got, err)
		}
	})
}

func TestDecision06_AllFailsAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		g := f.gather("a", "b", "c")
		type result struct {
			v   []int
			err error
		}
		all := make(chan result, 1)
		go func() {
			v, err := await.All(ctx, g)
			all <- result{v, err}
		}()
		f.open("a", 1)
		f.fail("b", "broken")
		r := <-all
		e, _ := errors.AsType[*jobs.Error](r.err)
		if e == nil || e.Kind != jobs.ErrFailed || e.Index != 1 || e.ID != g.ID()+":1" || e.Group != g.ID() || e.Message != "broken" || e.Attempt != 1 || r.v != nil {
			t.Fatalf("%v, %+v", r.v, e)
		}
		out, err := await.Outcome(ctx, g)
		if err != nil || out.State != jobs.StateFailed || out.ID != g.ID() || !errors.Is(out.Err, jobs.ErrFailed) {
			t.Errorf("%+v, %v", out, err)
		}
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		if _, err := await.Settled(short, g); !errors.Is(err, await.ErrGaveUp) {
			t.Errorf("the barrier before the end: %v", err)
		}
		f.open("c", 3)
		outs, err := await.Settled(ctx, g)
		if err != nil || len(outs) != 3 || outs[0].Value != 1 || outs[1].Err == nil || outs[2].Value != 3 {
			t.Errorf("%+v, %v", outs, err)
		}
		view, err := await.Result(ctx, g.Settled())
		if err != nil || len(view) != 3 || view[2].Value != 3 || view[1].State != jobs.StateFailed {
			t.Errorf("%+v, %v", view, err)
		}
	})
}

// TestDecision40_PartialResults: what is there comes with the error, within 50 ms of the context's end.
func TestDecision40_PartialResults(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		g := f.gather("a", "b", "c")
		f.open("a", 1)
		f.open("c", 3)
		within(t, 10*time.Second, "two members", func() bool {
			o, err := jobs.Peek(t.Context(), g.Member(2))
			p, err2 := jobs.Peek(t.Context(), g.Member(0))
			return err == nil && err2 == nil && o.State.Final() && p.State.Final()
		})
		cause := errors.New("enough")
		for name, context := range map[string]func() (context.Context, context.CancelFunc){
			"deadline": func() (context.Context, context.CancelFunc) {
				return context.WithTimeoutCause(t.Context(), 300*time.Millisecond, cause)
			},
			"cancelled": func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(300*time.Millisecond, func() { cancel(cause) })
				return ctx, func() { cancel(nil) }
			},
			"over before": func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancelCause(t.Context())
				cancel(cause)
				return ctx, func() {}
			},
		} {
			loose := func() jobs.Set[int] { return await.Of(g.Member(0), g.Member(1), g.Member(2)) }
			for what, set := range map[string]func() jobs.Set[int]{"group": func() jobs.Set[int] { return g }, "loose": loose} {
				var values []int
				var outs []jobs.Outcome[int]
				for range 5 { // what can be read within 50 ms is little where the machine is busy
					ctx, cancel := context()
					var err error
					if values, err = await.All(ctx, set()); !errors.Is(err, await.ErrGaveUp) || !errors.Is(err, cause) {
						t.Errorf("%s, %s: All: %v", name, what, err)
					}
					cancel()
					if slices.Equal(values, []int{1, 0, 3}) {
						break
					}
				}
				if !slices.Equal(values, []int{1, 0, 3}) {
					t.Errorf("%s, %s: All: %v", name, what, values)
				}
				there := func() bool {
					return len(outs) == 3 && outs[0].Value == 1 && errors.Is(outs[1].Err, jobs.ErrNotDone) && outs[2].Value == 3 && outs[1].Index == 1
				}
				for range 5 {
					ctx, cancel := context()
					var err error
					if outs, err = await.Settled(ctx, set()); !errors.Is(err, await.ErrGaveUp) || !errors.Is(err, cause) {
						t.Errorf("%s, %s: Settled: %v", name, what, err)
					}
					cancel()
					if there() {
						break
					}
				}
				if !there() {
					t.Errorf("%s, %s: Settled: %+v", name, what, outs)
				}
			}
		}
	})
}

func TestDecision27_AsCompleted(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		const n = 20
		names := make([]string, n)
		for i := range names {
			names[i] = fmt.Sprint("m", i)
		}
		g := f.gather(names...)
		order := rand.Perm(n)
		next := 0
		open := func() {
			if next < n {
				f.open(names[order[next]], order[next])
				next++
			}
		}
		open()
		var got []int
		for out, err := range await.AsCompleted(ctx, g) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, out.Index)
			if out.Order != len(got) || out.Value != out.Index {
				t.Fatalf("%d: %+v", len(got), out)
			}
			open()
		}
		if !slices.Equal(got, order) {
			t.Fatalf("%v, want %v", got, order)
		}
		for _, from := range []int{0, 1, 7, n - 1, n, n + 5} { // from any process, from any place
			var rest []int
			for out, err := range await.AsCompleted(ctx, jobs.GroupByID[int](f.client(jobs.ClientConfig{}), g.ID()), await.After(from)) {
				if err != nil {
					t.Fatal(err)
				}
				rest = append(rest, out.Index)
			}
			if want := order[min(from, n):]; !slices.Equal(rest, want) {
				t.Errorf("after %d: %v, want %v", from, rest, want)
			}
		}
		var some []int
		for out, err := range await.InOrder(ctx, g, await.After(14)) {
			if err != nil {
				t.Fatal(err)
			}
			if some = append(some, out.Index); len(some) == 3 {
				break
			}
		}
		if !slices.Equal(some, []int{15, 16, 17}) {
			t.Errorf("InOrder after 14: %v", some)
		}
	})
}

func TestDecision27_AsCompletedOfLooseHandles(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		a, b, c, d := f.gatedTask("a"), f.gatedTask("b"), f.gatedTask("c"), f.gatedTask("d")
		for name, task := range map[string]*jobs.Task[int]{"d": d, "b": b} { // ended before
			f.open(name, 7)
			must[int](t)(await.Result(ctx, task))
		}
		var got []int
		for out, err := range await.AsCompleted(ctx, await.Of(a, b, c, d, b, a)) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, out.Index)
			switch len(got) {
			case 2:
				f.open("c", 1)
			case 3:
				f.fail("a", "no")
			}
		}
		if !slices.Equal(got, []int{1, 3, 2, 0}) {
			t.Errorf("%v", got)
		}
		i := 0
		for out, err := range await.InOrder(ctx, await.Of(a, b, c, d), await.After(0)) {
			if i++; err != nil || out.Index != i {
				t.Errorf("InOrder: %+v, %v", out, err)
			}
		}
		if i != 3 {
			t.Errorf("InOrder: %d", i)
		}
		e, _ := errors.AsType[*jobs.Error](second(await.All(ctx, await.Of(d, a, b))))
		if e == nil || e.ID != a.ID() || e.Message != "no" {
			t.Errorf("All: %+v", e)
		}
		outs, err := await.Settled(ctx, await.Of(d, jobs.TaskByID[int](f.c, "nobody"), a))
		if !errors.Is(err, jobs.ErrUnknown) || outs[0].Value != 7 || !errors.Is(outs[1].Err, jobs.ErrUnknown) || !errors.Is(outs[2].Err, jobs.ErrFailed) {
			t.Errorf("Settled: %+v, %v", outs, err)
		}
	})
}

func TestInto(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		inner := must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, double.Calls(1, 2)))
		g := must[*jobs.Group[jobs.Value]](t)(jobs.Gather(ctx, f.c, jobs.Mixed(double.Call(4), word.Call("<x>"), inner, inner.Settled())))
		var n int
		var s string
		var ns []int
		var outs []jobs.Outcome[int]
		if err := await.Into(ctx, g, &n, &s, &ns, &outs); err != nil || n != 8 || s != "<x>" || !slices.Equal(ns, []int{2, 4}) || len(outs) != 2 || outs[1].Value != 4 {
			t.Fatalf("%v, %q, %v, %+v, %v", n, s, ns, outs, err)
		}
		var raw json.RawMessage
		if err := await.Into(ctx, g, nil, &raw, nil, nil); err != nil || string(raw) != `"<x>"` {
			t.Errorf("%s, %v", raw, err)
		}
		n = 99
		if err := await.Into(ctx, g, &n, new(int), nil, nil); !errors.Is(err, jobs.ErrUndecodable) || n != 99 {
			t.Errorf("%v, %d", err, n)
		}
		if err := await.Into(ctx, g, &n); !errors.Is(err, jobs.ErrRejected) || n != 99 {
			t.Errorf("%v, %d", err, n)
		}
		loose := await.Mixed(jobs.TaskByID[int](f.c, g.ID()+":0"), inner)
		if err := await.Into(ctx, loose, &n, &ns); err != nil || n != 8 || !slices.Equal(ns, []int{2, 4}) {
			t.Errorf("%v: %v, %v", err, n, ns)
		}
	})
}

func TestNesting(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		a := must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, double.Calls(1, 2, 3)))
		b := must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, []jobs.Call[int]{double.Call(5), fails.Call("x")}))
		if got, err := await.All(ctx, must[*jobs.Group[[]int]](t)(jobs.Gather(ctx, f.c, []*jobs.Group[int]{a, a}))); err != nil || !reflect.DeepEqual(got, [][]int{{2, 4, 6}, {2, 4, 6}}) {
			t.Errorf("%v, %v", got, err)
		}
		views := must[*jobs.Group[[]jobs.Outcome[int]]](t)(jobs.Gather(ctx, f.c, []jobs.Awaitable[[]jobs.Outcome[int]]{a.Settled(), b.Settled()}))
		got, err := await.All(ctx, views)
		if err != nil || len(got) != 2 || got[0][2].Value != 6 || got[1][0].Value != 10 || !errors.Is(got[1][1].Err, errNoImage) {
			t.Errorf("%+v, %v", got, err)
		}
		mixed := must[*jobs.Group[[]int]](t)(jobs.Gather(ctx, f.c, []*jobs.Group[int]{a, b}))
		e, _ := errors.AsType[*jobs.Error](second(await.All(ctx, mixed)))
		if e == nil || e.Index != 1 || !errors.Is(e, errNoImage) {
			t.Errorf("%+v", e)
		}
		single := must[*jobs.Task[int]](t)(jobs.CreateTask(ctx, f.c, double.Call(8)))
		twice := must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, []jobs.Awaitable[int]{single, a.Member(1), single}))
		if got, err := await.All(ctx, twice); err != nil || !slices.Equal(got, []int{16, 4, 16}) {
			t.Errorf("%v, %v", got, err)
		}
		v := must[jobs.Value](t)(await.Result(ctx, jobs.TaskByID[jobs.Value](f.c, mixed.ID()+":0")))
		if b, err := v.JSON(); err != nil || string(b) != `[2,4,6]` {
			t.Errorf("a group as a member, by ID: %s, %v", b, err)
		}
	})
}

func TestCancelledGroup(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		g := f.gather("a", "b")
		f.open("a", 1)
		must[int](t)(await.Result(ctx, g.Member(0)))
		if ok, err := jobs.Cancel(ctx, g.Settled(), "no more"); !ok || err != nil {
			t.Fatal(ok, err)
		}
		outs, err := await.Settled(ctx, g)
		if !errors.Is(err, jobs.ErrCancelled) || len(outs) != 2 || outs[0].Value != 1 || !errors.Is(outs[1].Err, jobs.ErrCancelled) {
			t.Errorf("%+v, %v", outs, err)
		}
		if _, err := await.Result(ctx, g.Settled()); !errors.Is(err, jobs.ErrCancelled) {
			t.Errorf("the view: %v", err)
		}
		e, _ := errors.AsType[*jobs.Error](second(await.All(ctx, g)))
		if e == nil || e.Kind != jobs.ErrCancelled {
			t.Errorf("All: %+v", e)
		}
	})
}

func TestDecision08_Expired(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx := t.Context()
		expired := func(h jobs.Ref, look func() (jobs.State, error)) {
			t.Helper()
			within(t, 5*time.Second, "the end of the retention of "+h.ID(), func() bool {
				state, err := look()
				if err != nil {
					t.Fatal(err)
				}
				return state == jobs.StateExpired
			})
		}
		g := must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, double.Calls(1), jobs.Retention(time.Second)))
		must[[]int](t)(await.All(ctx, g))
		expired(g, func() (jobs.State, error) { o, err := jobs.Peek(ctx, g); return o.State, err })
		for name, err := range map[string]error{
			"All":         second(await.All(ctx, g)),
			"Settled":     second(await.Settled(ctx, g)),
			"AsCompleted": last(await.AsCompleted(ctx, g)),
			"InOrder":     last(await.InOrder(ctx, g)),
			"member":      second(await.Result(ctx, g.Member(0))),
		} {
			if !errors.Is(err, jobs.ErrExpired) {
				t.Errorf("%s: %v", name, err)
			}
		}
		task := must[*jobs.Task[int]](t)(jobs.CreateTask(ctx, f.c, double.Call(1, jobs.Retention(time.Second))))
		must[int](t)(await.Result(ctx, task))
		expired(task, func() (jobs.State, error) { o, err := jobs.Peek(ctx, task); return o.State, err })
		if _, err := await.Result(ctx, task); !errors.Is(err, jobs.ErrExpired) {
			t.Errorf("Result: %v", err)
		}
		out, err := await.Outcome(ctx, task)
		if err != nil || out.State != jobs.StateExpired || !errors.Is(out.Err, jobs.ErrExpired) {
			t.Errorf("Outcome: %+v, %v", out, err)
		}
	})
}

func TestClosedClient(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		task := f.gatedTask("a")
		c := f.client(jobs.ClientConfig{})
		ended := make(chan error, 3)
		go func() { _, err := await.Result(t.Context(), jobs.TaskByID[int](c, task.ID())); ended <- err }()
		go func() {
			_, err := await.All(t.Context(), await.Of(jobs.TaskByID[int](c, task.ID())))
			ended <- err
		}()
		within(t, 5*time.Second, "the awaits", func() bool { return c.Stats().AwaitsOpen == 1 })
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-ended; !errors.Is(err, jobs.ErrClosed) {
				t.Error(err)
			}
		}
		if _, err := await.Result(t.Context(), jobs.TaskByID[int](c, task.ID())); !errors.Is(err, jobs.ErrClosed) {
			t.Error(err)
		}
		if _, err := jobs.Peek(t.Context(), jobs.TaskByID[int](c, task.ID())); !errors.Is(err, jobs.ErrClosed) {
			t.Error(err)
		}
		f.open("a", 1)
	})
}

// TestInOrderBehindAStraggler: the first of many ends last.
func TestInOrderBehindAStraggler(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		const n = 500
		calls := make([]jobs.Call[int], n)
		for i := range calls {
			calls[i] = double.Call(i)
		}
		calls[0], calls[250] = gated.Call("first"), gated.Call("middle")
		g := must[*jobs.Group[int]](t)(jobs.Gather(t.Context(), f.c, calls))
		seen := make(chan int, n)
		ended := make(chan error, 1)
		go func() {
			for out, err := range await.InOrder(t.Context(), g) {
				if err != nil {
					ended <- err
					return
				}
				seen <- out.Index
			}
			ended <- nil
		}()
		within(t, 20*time.Second, "the others", func() bool {
			info, err := jobs.Inspect(t.Context(), g)
			return err == nil && info.Counts[jobs.StateSucceeded] == n-2
		})
		if len(seen) != 0 {
			t.Errorf("%d came before the first", len(seen))
		}
		f.open("first", 1)
		within(t, 10*time.Second, "the first half", func() bool { return len(seen) == 250 })
		f.open("middle", 1)
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if got := <-seen; got != i {
				t.Fatalf("%d at place %d", got, i)
			}
		}
	})
}

// TestDecision08_OverdueWithoutWorkers: what nobody will start ends by the safety check of who awaits it.
func TestDecision08_OverdueWithoutWorkers(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		soon := time.Now().Add(500 * time.Millisecond)
		task := must[*jobs.Task[int]](t)(jobs.CreateTask(ctx, f.c, double.Call(1, jobs.Queue("nobody"), jobs.Deadline(soon))))
		g := must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, double.Calls(1, 2, 3), jobs.Queue("nobody"), jobs.Deadline(soon)))
		out, err := await.Outcome(ctx, task)
		if err != nil || out.State != jobs.StateTimedOut || !errors.Is(out.Err, jobs.ErrDeadline) || !out.StartedAt.IsZero() {
			t.Errorf("%+v, %v", out, err)
		}
		outs, err := await.Settled(ctx, g)
		if err != nil || len(outs) != 3 {
			t.Fatalf("%+v, %v", outs, err)
		}
		for _, out := range outs {
			if out.State != jobs.StateTimedOut || !errors.Is(out.Err, jobs.ErrDeadline) {
				t.Errorf("%+v", out)
			}
		}
		if d := time.Since(soon); d > 6*time.Second {
			t.Errorf("%v after the deadline", d)
		}
	})
}
