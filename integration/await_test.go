package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// jsonField returns a string of a JSON object.
func jsonField(t *testing.T, object, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(object), &fields); err != nil {
		t.Fatalf("%v: %s", err, object)
	}
	s, _ := fields[name].(string)
	return s
}

func TestAwaitReadsAndNeverConsumes(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		worker(t, s)
		id := produce(t, s, 0, "create", "sim", `{"steps":[{"sleep_ms":1500},{"return":[1,2]}]}`)
		group := produceFrom(t, s, 0, `{"steps":[{"sleep_ms":1500},{"return":1}]}`+"\n"+`{"steps":[{"return":2}]}`, "gather", "sim", "-")
		var before []*program
		for range 2 {
			before = append(before, start(t, s, "producer", "", "await", id), start(t, s, "producer", "", "await", group))
		}
		for i, p := range before {
			if code := p.wait(t, patience); code != 0 {
				t.Errorf("await before the end: exit %d", code)
			}
			if got, want := p.stdout.String(), []string{"[1,2]\n", "1\n2\n"}[i%2]; got != want {
				t.Errorf("await before the end printed %q, want %q", got, want)
			}
		}
		for range 2 {
			if got := produce(t, s, 0, "await", id); got != "[1,2]" {
				t.Errorf("await after the end printed %q", got)
			}
			if got := produce(t, s, 0, "await", group); got != "1\n2" {
				t.Errorf("await of the group after the end printed %q", got)
			}
			if got := produce(t, s, 0, "await", group+":1"); got != "2" {
				t.Errorf("await of a member after the end printed %q", got)
			}
		}
	})
}

func TestUnknownAndExpiredIDs(t *testing.T) {
	t.Parallel()
	s := redistest.Any(t)
	worker(t, s)
	for _, id := range []string{"nobody", "g:01890a5d-ac96-774b-bcce-b302099a8057", "t:01890a5d-ac96-774b-bcce-b302099a8057", "nobody:3"} {
		p := start(t, s, "producer", "", "await", "--json", id)
		if code := p.wait(t, patience); code != 4 || !strings.Contains(p.stdout.String(), `"unknown"`) {
			t.Errorf("await of %s: exit %d, %s", id, code, p.stdout.String())
		}
		if p.took > 5*time.Second {
			t.Errorf("await of %s took %v", id, p.took)
		}
	}

	// Each look is a process, which takes seconds on a busy machine: what is to be seen lasts longer.
	for what, create := range map[string]func() string{
		"task":  func() string { return produce(t, s, 0, "create", "echo", `"gone"`, "--retention", "5s") },
		"group": func() string { return produceFrom(t, s, 0, "1\n2", "gather", "echo", "-", "--retention", "5s") },
	} {
		var seen []string // kinds, in order
		id := create()
		eventually(t, "end of the retention", func() bool {
			p := start(t, s, "producer", "", "await", "--json", id)
			kind := "value"
			switch code := p.wait(t, patience); code {
			case 0:
			case 4:
				line := parseLine(t, p.stdout.String())
				if line.Error == nil {
					t.Fatalf("exit 4 without an error: %s", p.stdout.String())
				}
				kind = line.Error.Kind
			default:
				t.Fatalf("exit %d: %s", code, p.stderr.String())
			}
			if len(seen) == 0 || seen[len(seen)-1] != kind {
				seen = append(seen, kind)
			}
			return kind == "unknown"
		})
		if got := strings.Join(seen, " "); got != "value expired unknown" {
			t.Errorf("the %s was %s", what, got)
		}
	}
}

func TestAwaitEndsWhenRedisIsGoneForGood(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*redistest.Server, testing.TB){
		"killed": (*redistest.Server).Kill, "stopped": (*redistest.Server).Pause,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Local(t)
			c := client(t, s, jobs.ClientConfig{})
			id := produce(t, s, 0, "create", "echo", "1")
			p := start(t, s, "producer", "", "await", id)
			rdb := s.Client(t)
			eventually(t, "an await in its inbox", func() bool {
				channels, err := rdb.PubSubChannels(t.Context(), "gq:*").Result()
				if err != nil {
					t.Fatal(err)
				}
				return len(channels) > 0
			})
			gone := time.Now()
			end(s, t)
			if code := p.wait(t, 90*time.Second); code != 5 {
				t.Errorf("exit %d, want 5: %s", code, p.stderr.String())
			}
			if took := time.Since(gone); took > 75*time.Second {
				t.Errorf("it took %v", took)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, _ = jobs.CreateTask(ctx, c, ending.Call("value")) // a client that is closed while Redis is gone
		})
	}
}

// Every exported call ends with its context, also on a Redis that accepts and never answers. It measures time, so no other test
// runs beside it.
func TestDecision40_CallsEndWithTheirContext(t *testing.T) {
	const limit, most = 200 * time.Millisecond, 300 * time.Millisecond
	s := redistest.Local(t)
	warm := client(t, s, jobs.ClientConfig{})
	task, err := jobs.CreateTask(t.Context(), warm, ending.Call("value"))
	if err != nil {
		t.Fatal(err)
	}
	group, err := jobs.Gather(t.Context(), warm, ending.Calls("", ""))
	if err != nil {
		t.Fatal(err)
	}
	wait := func(ctx context.Context) error {
		_, err := await.Result(ctx, task)
		return err
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	if err := wait(ctx); err == nil { // opens the inbox
		t.Error("a task without a worker has ended")
	}
	cancel()
	cold := client(t, s, jobs.ClientConfig{})
	s.Pause(t)

	for name, c := range map[string]*jobs.Client{"warm": warm, "cold": cold} {
		task := jobs.TaskByID[string](c, task.ID())
		group := jobs.GroupByID[string](c, group.ID())
		calls := map[string]func(context.Context) error{
			"CreateTask": func(ctx context.Context) error { _, err := jobs.CreateTask(ctx, c, ending.Call("value")); return err },
			"CreateTasks": func(ctx context.Context) error {
				_, err := jobs.CreateTasks(ctx, c, ending.Calls("", "", ""))
				return err
			},
			"Gather": func(ctx context.Context) error { _, err := jobs.Gather(ctx, c, ending.Calls("", "")); return err },
			"GatherSeq": func(ctx context.Context) error {
				_, err := jobs.GatherSeq(ctx, c, func(yield func(jobs.Call[string]) bool) {
					for range 20000 {
						if !yield(ending.Call("value")) {
							return
						}
					}
				})
				return err
			},
			"Cancel task":    func(ctx context.Context) error { _, err := jobs.Cancel(ctx, task, ""); return err },
			"Cancel group":   func(ctx context.Context) error { _, err := jobs.Cancel(ctx, group, ""); return err },
			"Cancel settled": func(ctx context.Context) error { _, err := jobs.Cancel(ctx, group.Settled(), ""); return err },
			"Peek":           func(ctx context.Context) error { _, err := jobs.Peek(ctx, task); return err },
			"Peek group":     func(ctx context.Context) error { _, err := jobs.Peek(ctx, group); return err },
			"Inspect":        func(ctx context.Context) error { _, err := jobs.Inspect(ctx, task); return err },
			"Check":          func(ctx context.Context) error { return c.Check(ctx) },
			"Result":         func(ctx context.Context) error { _, err := await.Result(ctx, task); return err },
			"Result group":   func(ctx context.Context) error { _, err := await.Result(ctx, group); return err },
			"Outcome":        func(ctx context.Context) error { _, err := await.Outcome(ctx, task); return err },
			"All":            func(ctx context.Context) error { _, err := await.All(ctx, group); return err },
			"All loose":      func(ctx context.Context) error { _, err := await.All(ctx, await.Of(task)); return err },
			"Settled":        func(ctx context.Context) error { _, err := await.Settled(ctx, group); return err },
			"AsCompleted": func(ctx context.Context) (err error) {
				for _, err = range await.AsCompleted(ctx, group) {
				}
				return err
			},
			"InOrder": func(ctx context.Context) (err error) {
				for _, err = range await.InOrder(ctx, group) {
				}
				return err
			},
			"Run": func(ctx context.Context) error {
				w, err := jobs.NewWorker(c, jobs.WorkerConfig{})
				if err != nil {
					return err
				}
				_ = w.Run(ctx) // of a worker, the end of the context is no error
				return ctx.Err()
			},
		}
		var all sync.WaitGroup
		for call, do := range calls {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), limit)
				defer cancel()
				begin := time.Now()
				err := do(ctx)
				if took := time.Since(begin); took > most {
					t.Errorf("%s, %s took %v", name, call, took)
				}
				if err == nil {
					t.Errorf("%s, %s had an answer from a Redis that gives none", name, call)
				}
			})
		}
		all.Wait()
	}
}

// One inbox serves any number of awaits: no connection and no polling of their own.
func TestDecision39_AThousandAwaitsAreNearlyFree(t *testing.T) {
	t.Parallel()
	const awaits, length = 1000, 20 * time.Second
	s := redistest.Local(t)
	slow := jobs.Define[int, int]("slow")
	running := client(t, s, jobs.ClientConfig{})
	w, err := jobs.NewWorker(running, jobs.WorkerConfig{Concurrency: awaits})
	if err != nil {
		t.Fatal(err)
	}
	var started atomic.Int64
	jobs.Handle(w, slow, func(ctx context.Context, i int) (int, error) {
		started.Add(1)
		select {
		case <-time.After(length):
			return i, nil
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	})
	serve(t, w)

	calls := make([]jobs.Call[int], awaits)
	for i := range calls {
		calls[i] = slow.Call(i)
	}
	tasks, err := jobs.CreateTasks(t.Context(), running, calls)
	if err != nil {
		t.Fatal(err)
	}
	opts, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	opts.ClientName = "awaiter"
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { rdb.Close() })
	c, err := jobs.NewClient(rdb, jobs.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	var all sync.WaitGroup
	for i, task := range tasks {
		all.Go(func() {
			if got, err := await.Result(t.Context(), jobs.TaskByID[int](c, task.ID())); got != i || err != nil {
				t.Errorf("task %d: %d, %v", i, got, err)
			}
		})
	}
	eventually(t, "1,000 awaits of running tasks", func() bool { return c.Stats().AwaitsOpen == awaits && started.Load() == awaits })
	pause(t, time.Second) // until all are registered

	look := s.Client(t)
	addrs := clients(t, look, "awaiter")
	t.Logf("%d connections", len(addrs))
	if len(addrs) > 3 {
		t.Errorf("%d connections of the awaiting process, want at most 3", len(addrs))
	}
	commands := monitor(t, opts.Addr, 10*time.Second, func(line string) bool {
		for _, addr := range addrs {
			if strings.Contains(line, addr+"]") {
				return true
			}
		}
		return false
	})
	t.Logf("%d commands in 10 s", len(commands))
	if len(commands) > 20 {
		t.Errorf("%d commands in 10 s, want at most 20: %.2000q", len(commands), commands)
	}
	if open := c.Stats().AwaitsOpen; open != awaits {
		t.Errorf("only %d awaits were open at the end", open)
	}
	all.Wait()
}

// clients returns the addresses of the connections of a name.
func clients(t *testing.T, rdb *redis.Client, name string) (addrs []string) {
	t.Helper()
	list, err := rdb.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(list) {
		if !strings.Contains(line, " name="+name+" ") {
			continue
		}
		for field := range strings.FieldsSeq(line) {
			if addr, ok := strings.CutPrefix(field, "addr="); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}

// monitor returns the commands that a Redis executes within d, those that match.
func monitor(t *testing.T, addr string, d time.Duration, match func(string) bool) (lines []string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(d))
	fmt.Fprint(conn, "MONITOR\r\n")
	for scanner := bufio.NewScanner(conn); scanner.Scan(); {
		if match(scanner.Text()) {
			lines = append(lines, scanner.Text())
		}
	}
	return lines
}
