package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

var update = flag.Bool("update", false, "write the golden files of the formats that this version writes")

// formatsWriter makes a fleet do everything that is stored, and notes how it must end.
type formatsWriter struct {
	*testing.T
	s    *redistest.Server
	rdb  *redis.Client
	c    *jobs.Client
	list []ends

	mu      sync.Mutex
	notices map[byte]string
}

// These hold for everything: a golden file may be read a century later.
var lastingOptions = []jobs.CallOption{jobs.MaxPending(100 * 365 * 24 * time.Hour), jobs.Retention(time.Hour)}

func (w *formatsWriter) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// task creates a task that must end so.
func (w *formatsWriter) task(e ends, program json.RawMessage, opts ...jobs.CallOption) *jobs.Task[json.RawMessage] {
	w.Helper()
	task, err := jobs.CreateTask(w.Context(), w.c, sim.Call(program, append(append(opts, jobs.ID(e.ID)), lastingOptions...)...))
	w.ok(err)
	w.list = append(w.list, e)
	return task
}

// gather creates a group whose members must end so.
func (w *formatsWriter) gather(e ends, members []jobs.Member[jobs.Value], opts ...jobs.GatherOption) *jobs.Group[jobs.Value] {
	w.Helper()
	opts = append(opts, jobs.ID(e.ID))
	for _, o := range lastingOptions {
		opts = append(opts, o)
	}
	g, err := jobs.Gather(w.Context(), w.c, members, opts...)
	w.ok(err)
	w.list = append(w.list, e)
	return g
}

func (w *formatsWriter) state(ref jobs.Ref, want jobs.State) {
	w.Helper()
	eventually(w.T, ref.ID()+" that is "+string(want), func() bool { return inspect(w.T, ref).State == want })
}

// started waits until so many programs have counted themselves.
func (w *formatsWriter) started(name string, n int) {
	w.Helper()
	eventually(w.T, "starts of "+name, func() bool { return simKey(w.T, w.rdb, name) >= n })
}

// hear keeps one notice of each kind.
func (w *formatsWriter) hear() {
	sub := w.rdb.PSubscribe(w.Context(), "gq:{gatherq}:i:*")
	_, err := sub.Receive(w.Context())
	w.ok(err)
	w.Cleanup(func() { sub.Close() })
	go func() {
		for m := range sub.Channel() {
			_ = record.ParseNotices([]byte(m.Payload), func(n record.Notice) {
				w.mu.Lock()
				defer w.mu.Unlock()
				w.notices[n.Kind] = m.Payload
			})
		}
	}()
}

func succeeded(value string) ends {
	return ends{State: "succeeded", Value: json.RawMessage(value)}
}

func failed(state, kind string) ends { return ends{State: state, Kind: kind} }

// as gives it an ID.
func (e ends) as(id string) ends { e.ID = id; return e }

// open says that it has not ended when the fleet dies.
func (e ends) open() ends { e.Open = true; return e }

func groupOf(id, state string, members ...ends) ends {
	return ends{ID: id, State: state, Members: members}
}

// calls makes members of programs.
func calls(programs ...json.RawMessage) (out []jobs.Member[jobs.Value]) {
	for _, p := range programs {
		out = append(out, jobs.Mixed(sim.Call(p))...)
	}
	return out
}

// writeEnded has everything end that a task or group can end as, poison first: it takes its workers along.
func (w *formatsWriter) writeEnded() {
	poison := w.task(failed("crash_loop", "crash_loop").as("t-poison"), steps(`{"exit":1}`))
	for w.state(poison, jobs.StatePending); !inspect(w.T, poison).State.Final(); {
		p := start(w.T, w.s, "worker", "", "--allow-sim", "--admin", "off") // it may end before it is ready
		eventually(w.T, "the poison's effect", func() bool {
			select {
			case <-p.exited:
				return true
			default:
				return inspect(w.T, poison).State.Final()
			}
		})
		if inspect(w.T, poison).State.Final() {
			p.signal(w.T, syscall.SIGTERM)
			p.wait(w.T, patience)
		}
	}
	p := worker(w.T, w.s)
	text := `"` + strings.Repeat("compressible ", 300) + `"`
	one := w.task(succeeded("1").as("t-value"), steps(`{"return":1}`))
	w.task(succeeded(text).as("t-large"), steps(`{"return":%s}`, text))
	w.task(failed("failed", "error").as("t-failed"), steps(`{"raise":"it \"broke\"\n","retry":false}`))
	w.task(failed("failed", "panic").as("t-panicked"), steps(`{"panic":"it broke"}`), jobs.Retries(0))
	w.task(failed("timed_out", "timeout").as("t-late"), steps(`{"ignore_cancel_ms":500}`), jobs.Timeout(10*time.Millisecond), jobs.Grace(0), jobs.Retries(0))
	retried := succeeded("2").as("t-retried")
	retried.Attempt = 2
	w.task(retried, steps(`{"fail_until_attempt":2},{"return":"$attempt"}`), jobs.Retries(1), jobs.Backoff(time.Millisecond, time.Millisecond))
	never := w.task(failed("cancelled", "cancelled").as("t-cancelled"), steps(`{"return":1}`), jobs.Queue("nobody"))
	_, err := jobs.Cancel(w.Context(), never, "no longer needed")
	w.ok(err)
	expired := w.task(failed("expired", "expired").as("t-expired"), steps(`{"return":1}`))

	plain := w.gather(groupOf("g-values", "succeeded", succeeded("0"), succeeded("1"), succeeded(text)),
		calls(steps(`{"return":0}`), steps(`{"sleep_ms":1000},{"return":1}`), steps(`{"return":%s}`, text)))
	go func() { // somebody who is told of its progress
		for range await.AsCompleted(w.Context(), plain) {
		}
	}()
	told := w.task(succeeded("1").as("t-told"), steps(`{"sleep_ms":1000},{"return":1}`))
	go await.Outcome(w.Context(), told)
	go await.All(w.Context(), plain)
	w.gather(groupOf("g-failed", "failed", succeeded("0"), failed("failed", "error")),
		calls(steps(`{"return":0}`), steps(`{"raise":"it broke","retry":false}`)))
	w.gather(groupOf("g-links", "succeeded", succeeded("1"), succeeded(`[0,1,`+text+`]`), succeeded("7")),
		jobs.Mixed(one, plain, sim.Call(steps(`{"return":7}`), jobs.ID("t-own"), jobs.Retention(time.Hour))))
	w.list = append(w.list, succeeded("7").as("t-own"))
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	for _, e := range w.list {
		if e.ID == expired.ID() {
			_, err := await.Outcome(ctx, expired)
			w.ok(err)
			w.ok(w.rdb.Del(ctx, "gq:{gatherq:0}:r:"+expired.ID()).Err()) // as its retention does
			continue
		}
		e.end(ctx, w.T, w.c)
	}
	p.signal(w.T, syscall.SIGTERM)
	p.wait(w.T, patience)
}

// writeOpen leaves everything in the middle. The worker that it returns is to be killed.
func (w *formatsWriter) writeOpen() *program {
	leaving := worker(w.T, w.s, "--queues", "returned=1", "--drain", "0s", "--concurrency", "2")
	w.gather(groupOf("g-returned", "succeeded", succeeded("0"), succeeded("1"), succeeded("2")).open(),
		calls(steps(`{"incr":"back"},{"sleep_ms":1000},{"return":0}`), steps(`{"incr":"back"},{"sleep_ms":1000},{"return":1}`), steps(`{"sleep_ms":1000},{"return":2}`)), jobs.Queue("returned"))
	w.started("back", 1)
	leaving.signal(w.T, syscall.SIGTERM)
	leaving.wait(w.T, patience)

	doomed := worker(w.T, w.s, "--concurrency", "32")
	waits := w.task(succeeded("1").as("t-pending").open(), steps(`{"return":1}`), jobs.Queue("later"))
	text := strings.Repeat("compressible ", 300)
	w.gather(groupOf("g-pending", "succeeded", succeeded(`"`+text+`"`), succeeded("1")).open(),
		calls(steps(`{"return":"%s"}`, text), steps(`{"return":1}`)), jobs.Queue("later"))
	w.gather(groupOf("g-outbox", "succeeded", succeeded("5")).open(),
		jobs.Mixed(sim.Call(steps(`{"return":5}`), append([]jobs.CallOption{jobs.ID("t-told-late"), jobs.Queue("later")}, lastingOptions...)...)))
	w.gather(groupOf("g-waits", "succeeded", succeeded("1"), succeeded("2")).open(), append(jobs.Mixed(waits), calls(steps(`{"return":2}`))...))
	w.task(succeeded("1").as("t-scheduled").open(), steps(`{"return":1}`), jobs.Delay(30*time.Second))
	w.task(succeeded("1").as("t-running").open(), steps(`{"incr":"open"},{"sleep_ms":3000},{"return":1}`))
	stops := w.task(failed("cancelled", "cancelled").as("t-cancelling").open(), steps(`{"incr":"open"},{"ignore_cancel_ms":3000}`))
	w.gather(groupOf("g-bound", "succeeded", succeeded("0"), succeeded("1")).open(),
		append(calls(steps(`{"incr":"open"},{"sleep_ms":3000},{"return":0}`)), jobs.Mixed(sim.Call(steps(`{"return":1}`), jobs.Delay(500*time.Millisecond)))...), jobs.MaxRunning(1))
	half := w.gather(groupOf("g-running", "cancelled", succeeded("0"), failed("cancelled", "cancelled"), succeeded("2")).open(),
		calls(steps(`{"return":0}`), steps(`{"incr":"open"},{"ignore_cancel_ms":3000}`), steps(`{"incr":"open"},{"sleep_ms":3000},{"return":2}`)))
	w.started("open", 5)
	for _, ref := range []jobs.Ref{stops, half.Member(1)} {
		_, err := jobs.Cancel(w.Context(), ref, "no longer needed")
		w.ok(err)
	}
	go await.Outcome(w.Context(), half.Member(2))
	retry := succeeded("2").as("t-retrying").open()
	retry.Attempt = 2
	again := w.task(retry, steps(`{"fail_until_attempt":2},{"return":"$attempt"}`), jobs.Retries(1), jobs.Backoff(time.Minute, time.Minute))
	w.state(again, jobs.StateRetrying)
	eventually(w.T, "a member in the line and who waits for another", func() bool {
		return w.rdb.Exists(w.Context(), "gq:{gatherq:0}:p:g-bound", "gq:{gatherq:0}:m:g-running").Val() == 2
	})
	return doomed
}

// writeRest does what only an accident does: an end that nobody has told yet, a worker that was declared dead and came back.
func (w *formatsWriter) writeRest() {
	c := conn.New(w.rdb, slog.New(slog.DiscardHandler))
	records := record.NewStore(c, keys.New("gatherq", 1))
	ref := record.Ref{ID: "t-told-late", Number: 1}
	claims, err := records.Claim(w.Context(), "host-1-once", "nonce", ref)
	if err != nil || claims[0].Status != record.Claimed {
		w.Fatal(claims, err)
	}
	told, err := records.Settle(w.Context(), "host-1-once", ref, record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte("5")), Attempt: 1})
	if err != nil || !told.Applied || !told.Outbox {
		w.Fatal(told, err)
	}
	w.list = append(w.list, succeeded("5").as("t-told-late"))
	w.ok(group.NewStore(records).Revive(w.Context(), "host-1-once", 1))
}

// TestWriteFormats writes the golden files of this version, with -update alone.
func TestWriteFormats(t *testing.T) {
	if !*update {
		t.Skip("writes golden files: with -update alone")
	}
	s := redistest.Local(t)
	w := &formatsWriter{T: t, s: s, rdb: s.Client(t), c: client(t, s, jobs.ClientConfig{}), notices: map[byte]string{}}
	w.hear()
	w.writeEnded()
	doomed := w.writeOpen()
	doomed.kill(t)
	w.writeRest()

	space := keys.New("gatherq", 1)
	if missing := missingKinds(allKeys(t, w.rdb), func(key string) string { n, _, _ := space.Parse(key); return n.Kind }); len(missing) > 0 {
		t.Fatalf("no keys of the kinds %q", missing)
	}
	for id, want := range map[string]string{"t-retrying": "retrying", "t-running": "running", "t-scheduled": "scheduled"} {
		if got := w.rdb.HGet(t.Context(), "gq:{gatherq:0}:r:"+id, "s").Val(); got != want {
			t.Fatalf("%s is %s, want %s: write them again", id, got, want)
		}
	}
	dir := filepath.Join(formatsDir, formatsNow())
	w.ok(os.MkdirAll(dir, 0o755))
	writeKeys(t, w.rdb, filepath.Join(dir, "keys.redis"))
	var expect, notices bytes.Buffer
	for _, e := range w.list {
		w.ok(json.NewEncoder(&expect).Encode(e))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, kind := range []byte("tobpc") {
		if w.notices[kind] == "" {
			t.Errorf("no notice of kind %c was heard", kind)
		}
		fmt.Fprintln(&notices, quoted(w.notices[kind]))
	}
	for name, content := range map[string][]byte{"expect.jsonl": expect.Bytes(), "notices.redis": notices.Bytes()} {
		w.ok(os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
}
