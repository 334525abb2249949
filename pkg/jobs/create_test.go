package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/record"
)

var sum = Define[json.RawMessage, int]("sum")

func args(text string) json.RawMessage { return json.RawMessage(text) }

func TestCreateTask(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		task, err := CreateTask(t.Context(), c, sum.Call(args(` [1, 2] `), Queue("low"), Retries(2), Retention(time.Minute)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(task.ID(), "t:") || len(task.ID()) != 38 {
			t.Error("ID", task.ID())
		}
		if n := queueLength(t, rdb, "gatherq", "low"); n != 1 {
			t.Error(n, "deliveries")
		}
		got, err := c.engine.Records().Claim(t.Context(), "w", "n", record.Ref{ID: task.ID(), Number: 1})
		if err != nil || got[0].Status != record.Claimed || got[0].Type != "sum" {
			t.Fatalf("%+v %v", got, err)
		}
		if b, err := record.Unwrap(got[0].Args); err != nil || string(b) != ` [1, 2] ` {
			t.Errorf("arguments %q", b)
		}
		if o, err := record.DecodeOptions(got[0].Options); err != nil || o.Retries != 2 {
			t.Errorf("options %+v %v", o, err)
		}
		if s := c.Stats(); s.Created != 1 || s.Refused != 0 {
			t.Errorf("%+v", s)
		}
	})
}

// The marks follow by themselves, on Close at the latest.
func TestDecision07_CreationsAreMarked(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		var ids []string
		for _, opts := range [][]CallOption{nil, {ID("mine")}} {
			task, err := CreateTask(t.Context(), c, sum.Call(args(`1`), opts...))
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, task.ID())
		}
		marked := func(id string) bool {
			in, err := c.engine.Records().Look(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			return in.Marked
		}
		eventually(t, "marks", func() bool { return marked(ids[0]) && marked(ids[1]) })
		late, err := CreateTask(t.Context(), c, sum.Call(args(`2`)))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if !marked(late.ID()) {
			t.Error("Close leaves a mark behind")
		}
	})
}

// The same ID again, by policy, state of the first one and what is asked for.
func TestDecision44_ConflictMatrix(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		states := map[string]func(t *testing.T, id string){
			"pending": func(*testing.T, string) {},
			"succeeded": func(t *testing.T, id string) {
				end(t, c, id, record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte("1"))})
			},
			"failed": func(t *testing.T, id string) {
				end(t, c, id, record.Outcome{State: record.Failed, Failure: &record.Failure{Kind: "error"}})
			},
			"cancelled": func(t *testing.T, id string) {
				if ok, err := Cancel(t.Context(), TaskByID[int](c, id), "no"); !ok || err != nil {
					t.Fatal(ok, err)
				}
			},
		}
		n := 0
		for state, arrive := range states {
			for _, policy := range []ConflictPolicy{ConflictReturn, ConflictError, ConflictRerun} {
				for _, ask := range []string{"same", "options", "args", "type"} {
					n++
					id := fmt.Sprint("c", n)
					t.Run(fmt.Sprint(state, policy, ask), func(t *testing.T) {
						if _, err := CreateTask(t.Context(), c, sum.Call(args(`[1]`), ID(id))); err != nil {
							t.Fatal(err)
						}
						arrive(t, id)
						before := queueLength(t, rdb, "gatherq", "default")
						call := sum.Call(args(`[1]`), ID(id), OnConflict(policy))
						switch ask {
						case "options":
							call = sum.Call(args(`[1]`), ID(id), OnConflict(policy), Retries(3), Retention(time.Minute))
						case "args":
							call = sum.Call(args(`[1 ]`), ID(id), OnConflict(policy))
						case "type":
							call = Define[json.RawMessage, int]("other").Call(args(`[1]`), ID(id), OnConflict(policy))
						}
						task, err := CreateTask(t.Context(), c, call)
						refused := ask == "args" || ask == "type" || policy == ConflictError
						if refused {
							r, ok := errors.AsType[*RejectedError](err)
							if !ok || !errors.Is(err, ErrConflict) || !errors.Is(err, ErrRejected) || r.Field != "id" || task != nil {
								t.Error(err)
							}
						} else if err != nil || task.ID() != id {
							t.Error(err)
						}
						again := int64(0)
						if !refused && policy == ConflictRerun && (state == "failed" || state == "cancelled") {
							again = 1
						}
						if got := queueLength(t, rdb, "gatherq", "default") - before; got != again {
							t.Errorf("%d new deliveries, want %d", got, again)
						}
					})
				}
			}
		}
	})
}

// end takes a task as a worker would and settles it.
func end(t *testing.T, c *Client, id string, out record.Outcome) {
	t.Helper()
	ref := record.Ref{ID: id, Number: 1}
	got, err := c.engine.Records().Claim(t.Context(), "w", "n", ref)
	if err != nil || got[0].Status != record.Claimed {
		t.Fatal(got, err)
	}
	out.Attempt = 1
	if s, err := c.engine.Records().Settle(t.Context(), "w", ref, out); err != nil || !s.Applied {
		t.Fatal(s, err)
	}
}

// Many at once with the same ID: one task, one delivery.
func TestDecision44_TheSameIDAtOnce(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if task, err := CreateTask(t.Context(), c, sum.Call(args(`1`), ID("one"))); err != nil || task.ID() != "one" {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := queueLength(t, rdb, "gatherq", "default"); n != 1 {
			t.Error(n, "deliveries")
		}
	})
}

func TestCreateLater(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		for _, opt := range []CallOption{Delay(time.Hour), At(time.Now().Add(time.Hour))} {
			task, err := CreateTask(t.Context(), c, sum.Call(args(`1`), opt))
			if err != nil {
				t.Fatal(err)
			}
			info, err := Inspect(t.Context(), task)
			if err != nil || info.State != StateScheduled || !strings.HasPrefix(info.Waits, "starts at ") {
				t.Errorf("%+v %v", info, err)
			}
		}
		if n := queueLength(t, rdb, "gatherq", "default"); n != 0 {
			t.Error(n, "deliveries before their time")
		}
		if _, err := CreateTask(t.Context(), c, sum.Call(args(`1`), At(time.Now().Add(-time.Hour)))); err != nil {
			t.Fatal(err)
		}
		if n := queueLength(t, rdb, "gatherq", "default"); n != 1 {
			t.Error("what is due already has no delivery")
		}
	})
}

func TestCreateTasks(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		calls := make([]Call[int], 0, 1000)
		for i := range 1000 {
			call := sum.Call(args(fmt.Sprint(i)))
			switch {
			case i%100 == 7:
				call = sum.Call(args(`{`))
			case i%100 == 8:
				call = sum.Call(args(`0`), ID(fmt.Sprint("id-", i)), Queue("low"))
			case i == 509:
				call = sum.Call(args(`1`), ID("id-8")) // other arguments
			case i%100 == 9:
				call = sum.Call(args(`1`), Delay(time.Hour))
			}
			calls = append(calls, call)
		}
		tasks, err := CreateTasks(t.Context(), c, calls)
		if len(tasks) != len(calls) {
			t.Fatal(len(tasks), "tasks")
		}
		places := map[int]ErrorKind{}
		for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
			r, ok := errors.AsType[*RejectedError](one)
			if !ok {
				t.Fatal(one)
			}
			places[r.Index] = r.Kind
		}
		seen := map[string]bool{}
		for i, task := range tasks {
			want := ErrorKind("")
			if i%100 == 7 {
				want = ErrRejected
			} else if i == 509 {
				want = ErrConflict
			}
			if places[i] != want || (task == nil) != (want != "") {
				t.Errorf("%d: %v, error %q, want %q", i, task, places[i], want)
			}
			if task != nil {
				seen[task.ID()] = true
			}
		}
		if len(seen) != 989 {
			t.Error(len(seen), "different tasks")
		}
		if low, all := queueLength(t, rdb, "gatherq", "low"), queueLength(t, rdb, "gatherq", "default"); low < 1 || low > 4 || all < 16 || all > 970/16+5 {
			t.Error("deliveries", low, all, "of 10 and 970 tasks")
		}
		if s := c.Stats(); s.Created != 989 || s.Refused != 11 {
			t.Errorf("%+v", s)
		}
		if tasks, err := CreateTasks(t.Context(), c, []Call[int](nil)); err != nil || len(tasks) != 0 {
			t.Error(tasks, err)
		}
	})
}

// What is wrong with the input leaves nothing in Redis, sampled while the calls go on.
func TestDecision16_BadInputLeavesNothing(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		stop, sampled := make(chan struct{}), make(chan []string, 1)
		go func() {
			var found []string
			for {
				select {
				case <-stop:
					sampled <- found
					return
				default:
					all, _ := rdb.Keys(context.Background(), "*").Result()
					found = append(found, all...)
				}
			}
		}()
		long := args(`"` + strings.Repeat("x", 2<<20) + `"`)
		for name, call := range map[string]Call[int]{
			"args":        sum.Call(long),
			"depth":       sum.Call(args(strings.Repeat("[", 2000))),
			"json":        sum.Call(args(`{"a":`)),
			"queue":       sum.Call(args(`1`), Queue("a}:t:x")),
			"id":          sum.Call(args(`1`), ID("a\r\nb")),
			"retries":     sum.Call(args(`1`), Retries(-1)),
			"delay":       sum.Call(args(`1`), Delay(-time.Second)),
			"id of group": sum.Call(args(`1`), ID("g:"+newUUID())),
			"type":        Define[json.RawMessage, int]("No").Call(args(`1`)),
			"definition":  Define[json.RawMessage, int]("x", Timeout(-1)).Call(args(`1`)),
			"zero":        {},
		} {
			check := func(how string, err error) {
				r, ok := errors.AsType[*RejectedError](err)
				if !ok || !errors.Is(err, ErrRejected) || r.Field == "" || r.Why == "" || len(err.Error()) > 300 {
					t.Errorf("%s: %s: %v", name, how, err)
				}
			}
			_, err := CreateTask(t.Context(), c, call)
			check("CreateTask", err)
			_, err = CreateTasks(t.Context(), c, []Call[int]{call})
			check("CreateTasks", err)
			many := slices.Repeat([]Call[int]{sum.Call(args(`1`))}, 300)
			_, err = Gather(t.Context(), c, append(many, call))
			check("Gather", err)
			if r, _ := errors.AsType[*RejectedError](err); r != nil && (r.Index != 300 || !strings.Contains(err.Error(), "call 300")) {
				t.Errorf("%s: Gather does not name the place: %v", name, err)
			}
		}
		if _, err := Gather(t.Context(), c, sum.Calls(args(`1`)), ID("t:"+newUUID())); !errors.Is(err, ErrRejected) {
			t.Error("a group with a task's ID:", err)
		}
		close(stop)
		if found := <-sampled; len(found) > 0 {
			t.Error("seen:", slices.Compact(found))
		}
		if s := c.Stats(); s.Created != 0 || s.Gathered != 0 || s.Refused == 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestArgsLimit(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{MaxArgs: 1000})
		fits := args(`"` + strings.Repeat("x", 998) + `"`)
		if _, err := CreateTask(t.Context(), c, sum.Call(fits)); err != nil {
			t.Error(err)
		}
		_, err := CreateTask(t.Context(), c, sum.Call(append(slices.Clone(fits), ' ')))
		if r, ok := errors.AsType[*RejectedError](err); !ok || r.Field != "args" || r.Why != "1001 bytes, at most 1000" {
			t.Error(err)
		}
	})
}

func TestUnusableClients(t *testing.T) {
	var none *Client
	closed := newClient(t, unreachable(t), ClientConfig{})
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		c    *Client
		want ErrorKind
	}{{none, ErrRejected}, {&Client{}, ErrRejected}, {closed, ErrClosed}} {
		_, one := CreateTask(t.Context(), test.c, sum.Call(nil))
		_, many := CreateTasks(t.Context(), test.c, sum.Calls(nil))
		_, group := Gather(t.Context(), test.c, sum.Calls(nil))
		check := error(ErrClosed)
		if test.c != none {
			check = test.c.Check(t.Context())
		}
		for i, err := range []error{one, many, group, check} {
			if !errors.Is(err, test.want) && !(test.c == none && i == 3) {
				t.Errorf("%d: %v, want %v", i, err, test.want)
			}
		}
	}
	if _, err := CreateTask(t.Context(), nil, sum.Call(nil)); !errors.Is(err, ErrRejected) {
		t.Error(err)
	}
	task := TaskByID[int](closed, "a")
	if _, err := Cancel(t.Context(), task, ""); !errors.Is(err, ErrClosed) {
		t.Error("Cancel:", err)
	}
	if _, err := Inspect(t.Context(), task); !errors.Is(err, ErrClosed) {
		t.Error("Inspect:", err)
	}
}

// Redis is out of memory: refused for now, nothing stored.
func TestBackpressure(t *testing.T) {
	rdb := realRedis(t)
	c := newClient(t, rdb, ClientConfig{})
	if _, err := CreateTask(t.Context(), c, sum.Call(args(`1`))); err != nil {
		t.Fatal(err)
	}
	if err := rdb.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for _, call := range []Call[int]{sum.Call(args(`1`)), sum.Call(args(`1`), ID("a")), sum.Call(args(`1`), Delay(time.Hour))} {
		_, err := CreateTask(t.Context(), c, call)
		if !errors.Is(err, ErrBackpressure) || errors.Is(err, ErrRejected) {
			t.Error(err)
		}
	}
	if _, err := Gather(t.Context(), c, sum.Calls(args(`1`))); !errors.Is(err, ErrBackpressure) {
		t.Error(err)
	}
}

// Redis is gone: nothing was stored, and it says so with the ID.
func TestUnreachable(t *testing.T) {
	c := newClient(t, unreachable(t), ClientConfig{})
	ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer stop()
	_, err := CreateTask(ctx, c, sum.Call(args(`1`), ID("a")))
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != ErrUnavailable || e.ID != "a" || errors.Is(err, ErrIndeterminate) {
		t.Error(err)
	}
	over, cancel := context.WithCancelCause(t.Context())
	why := errors.New("the user left")
	cancel(why)
	for _, err := range []error{
		second(CreateTask(over, c, sum.Call(args(`1`)))),
		second(CreateTasks(over, c, sum.Calls(args(`1`)))),
		second(Gather(over, c, sum.Calls(args(`1`)))),
		second(Cancel(over, TaskByID[int](c, "a"), "")),
		second(Inspect(over, TaskByID[int](c, "a"))),
		c.Check(over),
	} {
		if !errors.Is(err, why) || errors.Is(err, ErrIndeterminate) {
			t.Error(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Every exported call returns within 50 ms of its context's end, also while Redis accepts and never answers.
func TestDecision40_CallsEndWithTheirContext(t *testing.T) {
	c := newClient(t, silent(t), ClientConfig{})
	task, group := TaskByID[int](c, "a"), GroupByID[int](c, "g")
	for name, call := range map[string]func(context.Context) error{
		"CreateTask":    func(ctx context.Context) error { return second(CreateTask(ctx, c, sum.Call(args(`1`)))) },
		"CreateTask ID": func(ctx context.Context) error { return second(CreateTask(ctx, c, sum.Call(args(`1`), ID("a")))) },
		"CreateTasks": func(ctx context.Context) error {
			return second(CreateTasks(ctx, c, sum.Calls(slices.Repeat([]json.RawMessage{args(`1`)}, 1000)...)))
		},
		"Gather":          func(ctx context.Context) error { return second(Gather(ctx, c, sum.Calls(args(`1`), args(`2`)))) },
		"Gather ID":       func(ctx context.Context) error { return second(Gather(ctx, c, sum.Calls(args(`1`)), ID("g"))) },
		"Gather of tasks": func(ctx context.Context) error { return second(Gather(ctx, c, []*Task[int]{task, task})) },
		"Gather of none":  func(ctx context.Context) error { return second(Gather(ctx, c, sum.Calls())) },
		"GatherSeq":       func(ctx context.Context) error { return second(GatherSeq(ctx, c, sum.CallSeq(endless))) },
		"Cancel":          func(ctx context.Context) error { return second(Cancel(ctx, task, "")) },
		"Cancel member":   func(ctx context.Context) error { return second(Cancel(ctx, TaskByID[int](c, "g:0"), "")) },
		"Cancel group":    func(ctx context.Context) error { return second(Cancel(ctx, group, "")) },
		"Inspect":         func(ctx context.Context) error { return second(Inspect(ctx, task)) },
		"Check":           c.Check,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer stop()
			began := time.Now()
			err := call(ctx)
			if took := time.Since(began); took > 300*time.Millisecond {
				t.Error("took", took)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Error(err)
			}
		})
	}
}

func endless(yield func(json.RawMessage) bool) {
	for i := range math.MaxInt {
		if !yield(args(fmt.Sprint(i))) {
			return
		}
	}
}

// A write that may have happened says so and carries the ID, also a generated one; the same call with that ID is safe.
func TestDecision16_Indeterminate(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		answers := lose(t, rdb)
		c := newClient(t, rdb, ClientConfig{})
		for _, opts := range [][]CallOption{nil, {Delay(time.Hour)}} { // Redis knows the scripts from here on
			if _, err := CreateTask(t.Context(), c, sum.Call(args(`1`), append(opts, Queue("warm"))...)); err != nil {
				t.Fatal(err)
			}
		}
		for i, create := range []func(ctx context.Context, opts ...CallOption) (Ref, error){
			func(ctx context.Context, opts ...CallOption) (Ref, error) {
				return CreateTask(ctx, c, sum.Call(args(`1`), opts...))
			},
			func(ctx context.Context, opts ...CallOption) (Ref, error) {
				return CreateTask(ctx, c, sum.Call(args(`1`), append(opts, Delay(time.Hour))...))
			},
			func(ctx context.Context, opts ...CallOption) (Ref, error) {
				tasks, err := CreateTasks(ctx, c, []Call[int]{sum.Call(args(`1`), opts...)})
				if err != nil {
					return nil, err
				}
				return tasks[0], nil
			},
		} {
			answers.hang.Store(true)
			ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
			_, err := create(ctx)
			stop()
			answers.hang.Store(false)
			e, ok := errors.AsType[*Error](err)
			if !ok || e.Kind != ErrIndeterminate || !strings.HasPrefix(e.ID, "t:") || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(i, err)
			}
			inspect(t, TaskByID[int](c, e.ID)) // it did happen
			again, err := create(t.Context(), ID(e.ID))
			if err != nil || again.ID() != e.ID {
				t.Error(i, err)
			}
		}
		if n := queueLength(t, rdb, "gatherq", "default"); n != 2 {
			t.Error(n, "deliveries of 2 tasks")
		}
		answers.hang.Store(true)
		ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer stop()
		_, err := Cancel(ctx, TaskByID[int](c, "a"), "")
		answers.hang.Store(false)
		if e, ok := errors.AsType[*Error](err); !ok || e.Kind != ErrIndeterminate || e.ID != "a" {
			t.Error(err)
		}
	})
}

// A creation whose answer was lost on the way is sent again and finds its own work, whatever the policy.
func TestDecision03_LostAnswersOfCreations(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		answers := lose(t, rdb)
		c := newClient(t, rdb, ClientConfig{})
		if err := c.engine.Agree(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, policy := range []ConflictPolicy{ConflictReturn, ConflictError, ConflictRerun} {
			id := fmt.Sprint("id-", policy)
			for _, opts := range [][]CallOption{{ID(id)}, {ID(id + "-later"), Delay(time.Hour)}} {
				answers.drop.Store(1)
				task, err := CreateTask(t.Context(), c, sum.Call(args(`1`), append(opts, OnConflict(policy))...))
				if err != nil {
					t.Fatal(policy, err)
				}
				if answers.drop.Load() != 0 {
					t.Fatal("no answer was lost")
				}
				inspect(t, task)
			}
		}
		if n := queueLength(t, rdb, "gatherq", "default"); n != 3 {
			t.Error(n, "deliveries of 3 tasks")
		}
	})
}

// A gather whose commit was not answered stands or does not; its ID tells.
func TestDecision16_IndeterminateGather(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		answers := lose(t, rdb)
		c := newClient(t, rdb, ClientConfig{})
		if err := c.engine.Agree(t.Context()); err != nil {
			t.Fatal(err)
		}
		kinds := map[ErrorKind]int{}
		for after := range int64(8) { // hangs at the first trip, the second, …
			answers.hangAfter.Store(after + 1)
			ctx, stop := context.WithTimeout(t.Context(), 100*time.Millisecond)
			g, err := Gather(ctx, c, numbers(10))
			stop()
			answers.hangAfter.Store(0)
			answers.hang.Store(false)
			if err == nil {
				inspect(t, g)
				kinds[""]++
				continue
			}
			e, ok := errors.AsType[*Error](err)
			if !ok {
				t.Fatal(after, err)
			}
			kinds[e.Kind]++
			again, err := Gather(t.Context(), c, numbers(10), ID(e.ID))
			if err != nil {
				t.Fatal(after, err)
			}
			if info := inspect(t, again); info.Counts[StatePending] != 10 {
				t.Errorf("%+v", info)
			}
		}
		if kinds[ErrUnavailable] == 0 || kinds[ErrIndeterminate] == 0 || kinds[""] == 0 {
			t.Error("not all ends were met:", kinds)
		}
	})
}

func expired(t *testing.T) context.Context {
	ctx, stop := context.WithTimeout(t.Context(), 0)
	t.Cleanup(stop)
	return ctx
}

func TestCheck(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		log := &countingLog{}
		if err := newClient(t, rdb, ClientConfig{Logger: log.logger()}).Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
	rdb := realRedis(t)
	if err := rdb.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(); err != nil {
		t.Fatal(err)
	}
	err := newClient(t, rdb, ClientConfig{}).Check(t.Context())
	if r, ok := errors.AsType[*RejectedError](err); !ok || r.Field != "maxmemory_policy" {
		t.Error(err)
	}
	log := &countingLog{}
	if err := newClient(t, rdb, ClientConfig{AllowEviction: true, Logger: log.logger()}).Check(t.Context()); err != nil || log.n == 0 {
		t.Error(err, log.n, "warnings")
	}
	// an ACL that hides INFO: not known, no error
	if err := rdb.Do(t.Context(), "acl", "setuser", "poor", "on", ">pw", "~*", "&*", "+@all", "-info").Err(); err != nil {
		t.Fatal(err)
	}
	poor := redis.NewClient(&redis.Options{Network: "unix", Addr: rdb.Options().Addr, Username: "poor", Password: "pw"})
	t.Cleanup(func() { _ = poor.Close() })
	if err := newClient(t, poor, ClientConfig{}).Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// trips notes what a client sends.
type trips struct {
	mu       sync.Mutex
	commands []string
}

func (*trips) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.note(cmd)
		return next(ctx, cmd)
	}
}

func (c *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c.note(cmds...)
		return next(ctx, cmds)
	}
}

func (c *trips) note(cmds ...redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name := cmds[0].Name(); name == "hello" || name == "client" { // go-redis' own greeting
		return
	}
	for _, cmd := range cmds {
		c.commands = append(c.commands, cmd.Name())
	}
}

// The first creation of a process looks at Redis in one pipeline more, those that follow do not.
func TestDecision20_TheFirstUseLooksAtRedisOnce(t *testing.T) {
	rdb := realRedis(t)
	if _, err := CreateTask(t.Context(), newClient(t, rdb, ClientConfig{}), sum.Call(args(`1`))); err != nil { // so that Redis knows scripts and namespace
		t.Fatal(err)
	}
	own := redis.NewClient(rdb.Options())
	defer own.Close()
	count := &trips{}
	own.AddHook(count)
	c := newClient(t, own, ClientConfig{})
	for range 2 {
		if _, err := CreateTask(t.Context(), c, sum.Call(args(`1`))); err != nil {
			t.Fatal(err)
		}
	}
	count.mu.Lock()
	defer count.mu.Unlock()
	if want := []string{"hmget", "time", "info", "evalsha"}; !slices.Equal(count.commands[:4], want) {
		t.Errorf("%v, want %v first", count.commands, want)
	}
	if slices.Contains(count.commands[4:], "hmget") {
		t.Errorf("it looked again: %v", count.commands)
	}
}

// What a client cannot work with is refused at its first use, whatever it creates; nothing is stored, and it goes on when that has changed.
func TestDecision20_WhatCannotBeWorkedWithIsRefused(t *testing.T) {
	rdb := realRedis(t)
	for _, test := range []struct {
		field     string
		set, undo []any
	}{
		{"maxmemory_policy", []any{"config", "set", "maxmemory-policy", "allkeys-lru"}, []any{"config", "set", "maxmemory-policy", "noeviction"}},
		{"role", []any{"replicaof", "127.0.0.1", "1"}, []any{"replicaof", "no", "one"}},
		{"namespace", []any{"hset", "gq:{gatherq}:meta", "shards", 1, "schema", 2}, []any{"del", "gq:{gatherq}:meta"}},
		{"namespace", []any{"hset", "gq:{gatherq}:meta", "shards", 7, "schema", 1}, []any{"del", "gq:{gatherq}:meta"}},
	} {
		c := newClient(t, rdb, ClientConfig{})
		if err := rdb.Do(t.Context(), test.set...).Err(); err != nil {
			t.Fatal(err)
		}
		before := rdb.DBSize(t.Context()).Val()
		calls := sum.Calls(args(`1`), args(`2`))
		for i, err := range []error{
			second(CreateTask(t.Context(), c, calls[0])),
			second(Gather(t.Context(), c, calls)),
			second(GatherSeq(t.Context(), c, slices.Values(calls))),
			c.Check(t.Context()),
		} {
			if r, ok := errors.AsType[*RejectedError](err); !ok || r.Field != test.field || !errors.Is(err, ErrRejected) || strings.Contains(err.Error(), "call ") {
				t.Errorf("%s: %d: %v", test.field, i, err)
			}
		}
		if n := rdb.DBSize(t.Context()).Val(); n != before {
			t.Errorf("%s: %d keys, %d before", test.field, n, before)
		}
		if err := rdb.Do(t.Context(), test.undo...).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := CreateTask(t.Context(), c, calls[0]); err != nil {
			t.Errorf("%s: afterwards: %v", test.field, err)
		}
		rdb.FlushAll(t.Context())
	}
}
