package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// buildOff builds both programs with a time.Now whose wall clock is ahead by as many seconds as CLOCK_AHEAD says; its monotonic
// reading is left as it is. Nothing outside can do that to a Go program, which asks the kernel by itself.
var buildOff = sync.OnceValues(func() (dir string, err error) {
	dir = filepath.Join(bin, "off")
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return "", err
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(source)
	if err != nil {
		return "", err
	}
	head, now, found := strings.Cut(string(text), "\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n")
	if !found {
		return "", errors.New("time.Now is not what it was: see where it reads the clock now")
	}
	changed := strings.Replace(head, "import (", "import (\n\t\"syscall\"", 1) +
		"\nfunc Now() Time {\n\tsec, nsec, mono := runtimeNow()\n\tsec += ahead\n" + now +
		"\nvar ahead = func() int64 {\n\ttext, _ := syscall.Getenv(\"CLOCK_AHEAD\")\n\tn, _ := atoi(text)\n\treturn int64(n)\n}()\n"
	file, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {source: file}})
	if err = errors.Join(err, os.Mkdir(dir, 0o700), os.WriteFile(file, []byte(changed), 0o600), os.WriteFile(overlay, replace, 0o600)); err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-overlay", overlay, "-o", dir+string(filepath.Separator),
		"github.com/gatherq/gatherq/cmd/producer", "github.com/gatherq/gatherq/cmd/worker")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return dir, nil
})

// startOff is start of a program whose clock is off by ahead.
func startOff(t *testing.T, s *redistest.Server, ahead time.Duration, name, stdin string, args ...string) *program {
	t.Helper()
	dir, err := buildOff()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.Env = []string{"CLOCK_AHEAD=" + strconv.Itoa(int(ahead.Seconds()))}
	return launch(t, s, stdin, cmd)
}

// offs are the clocks of a fleet in which no two agree.
var offs = []time.Duration{0, 5 * time.Minute, -5 * time.Minute}

// Three workers whose clocks are five minutes apart, and producers likewise: nothing runs twice or before its time, nobody is taken for
// dead, every program sees the same. With GATHERQ_LONG tasks outlive asynq's leases of 30 s.
func TestDecision01_ClocksThatAreOff(t *testing.T) {
	t.Parallel()
	sleep := 4 * time.Second
	if inFull() {
		sleep = 75 * time.Second
	}
	const delay = 3 * time.Second
	s := redistest.Local(t)
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
	var workers []*program
	for _, off := range offs {
		w := ready(t, startOff(t, s, off, "worker", "", workerArgs([]string{"--concurrency", "24"})...))
		if said := strings.Contains(w.stderr.String(), "clock and Redis' differ"); said != (off != 0) {
			t.Fatalf("a worker that is %v ahead wrote: %s", off, w.stderr.String())
		}
		workers = append(workers, w)
	}
	due := map[string]time.Time{} // by Redis' clock
	total := 0
	var groups []string
	for i, off := range offs {
		var members strings.Builder
		for n := range 15 {
			fmt.Fprintf(&members, `{"steps":[{"incr":"n"},{"sleep_ms":%d},{"return":%d}]}`+"\n", sleep.Milliseconds(), n)
		}
		// A time-out and a deadline that are passed, or far away, by most of these clocks.
		limits := []string{"--timeout", (sleep + patience).String(), "--deadline", (sleep + 2*patience).String(), "--retention", "4m"}
		groups = append(groups, startOff(t, s, off, "producer", members.String(), append([]string{"gather", "sim", "-"}, limits...)...).said(t, 0))
		total += 15
		id := fmt.Sprint("delayed-", i)
		due[id] = serverTime(t, rdb).Add(delay)
		startOff(t, s, off, "producer", "", append([]string{"create", "sim", fmt.Sprintf(`{"steps":[{"incr":%q},{"return":%d}]}`, id, i), "--in", delay.String(), "--id", id}, limits...)...).said(t, 0)
	}
	var calls []jobs.Call[json.RawMessage]
	for i := range 15 {
		calls = append(calls, sim.Call(steps(`{"incr":"n"},{"sleep_ms":%d},{"return":%d}`, sleep.Milliseconds(), i)))
	}
	retries := map[int]bool{} // places of those that fail twice
	for i := range 300 {
		calls = append(calls, sim.Call(steps(`{"incr":"n"},{"return":%d}`, len(calls)), jobs.Timeout(time.Minute)))
		if i%10 == 0 {
			retries[len(calls)] = true
			calls = append(calls, sim.Call(steps(`{"incr":"retried"},{"fail_until_attempt":3},{"return":%d}`, len(calls)), jobs.Retries(2), jobs.Backoff(100*time.Millisecond, time.Second)))
		}
	}
	list, err := jobs.CreateTasks(t.Context(), c, calls)
	if err != nil {
		t.Fatal(err)
	}
	total += len(calls) - len(retries)
	notBefore(t, rdb, due)

	ran := map[*program]int{}
	judge := func(what, worker string, ok bool, seen any) {
		t.Helper()
		for _, w := range workers {
			if w.of(worker) {
				ran[w]++
			}
		}
		if !ok {
			t.Errorf("%s: %+v", what, seen)
		}
	}
	for i, task := range list {
		out, err := await.Outcome(t.Context(), task)
		want := map[bool]int{true: 3, false: 1}[retries[i]]
		judge(fmt.Sprint("task ", i), out.Worker, err == nil && string(out.Value) == strconv.Itoa(i) && out.Attempt == want && out.Delivery == want, out)
	}
	for i, off := range offs {
		for n, line := range parseLines(t, startOff(t, s, off, "producer", "", "await", "--json", groups[i]).said(t, 0)) {
			judge(fmt.Sprintf("member %d of group %d", n, i), line.Worker, string(line.Value) == strconv.Itoa(n) && line.Attempt == 1, line)
		}
		id := fmt.Sprint("delayed-", i)
		line := parseLine(t, startOff(t, s, off, "producer", "", "await", "--json", id).said(t, 0))
		judge(id, line.Worker, string(line.Value) == strconv.Itoa(i) && line.Attempt == 1 && line.StartedAt.Sub(due[id]) >= 0, line)
	}
	n := simKey(t, rdb, "n")
	if again := simKey(t, rdb, "retried"); n != total || again != 3*len(retries) {
		t.Errorf("%d tasks ran %d times; %d that fail twice %d times", total, n, len(retries), again)
	}
	for i, w := range workers {
		if ran[w] == 0 {
			t.Errorf("the worker that is %v ahead ran nothing", offs[i])
		}
	}
	nobodyDied(t, "clocks", workers, map[string]any{"tasks": total, "executions": n, "apart_ms": millis(offs[1] - offs[2]), "sleep_ms": millis(sleep)})
	for _, off := range offs {
		if out := startOff(t, s, off, "producer", "", "doctor", "--json", "--again", "1s").said(t, 0); !strings.Contains(out, `"healthy":true`) {
			t.Errorf("the doctor that is %v ahead: %s", off, out)
		}
	}
}

// The master dies, and the clock of the one that takes its address is five minutes off: nobody is taken for dead, what runs ends where it runs,
// what is due in an hour waits, results stay, and what is created once the fleet has beaten there keeps to the new clock.
func TestDecision20_ANewMasterWhoseClockIsOff(t *testing.T) {
	t.Parallel()
	for _, off := range offs[1:] {
		t.Run(off.String(), func(t *testing.T) {
			t.Parallel()
			first := redistest.Local(t, "--repl-diskless-sync-delay", "0")
			next := redistest.LocalAhead(t, off, replicaOf(t, first)...)
			was, is := first.Client(t), next.Client(t)
			caughtUp(t, was)
			wire := startCuttable(t, was.Options().Addr)
			s := &redistest.Server{Name: "one address", URL: wire.URL()}
			c := client(t, s, jobs.ClientConfig{})
			var workers []*program
			for range 3 {
				workers = append(workers, worker(t, s, "--concurrency", "24"))
			}
			kept := produce(t, s, 0, "create", "sim", `{"steps":[{"return":"kept"}]}`)
			if got := produce(t, s, 0, "await", kept); got != `"kept"` {
				t.Fatal(got)
			}
			var list []*jobs.Task[json.RawMessage]
			create := func(opts ...jobs.CallOption) {
				t.Helper()
				task, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"incr":"n"},{"sleep_ms":4000},{"return":%d}`, len(list)), opts...))
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, task)
			}
			const each = 15
			var members strings.Builder
			for i := range each {
				create()
				fmt.Fprintf(&members, `{"steps":[{"incr":"n"},{"sleep_ms":4000},{"return":%d}]}`+"\n", i)
			}
			group := produceFrom(t, s, 0, members.String(), "gather", "sim", "-")
			later := produce(t, s, 0, "create", "sim", `{"steps":[{"incr":"later"}]}`, "--in", "1h")
			eventually(t, "all started", func() bool { return simKey(t, was, "n") == 2*each })
			hasAll(t, was)
			first.Kill(t)
			do(t, is, "replicaof", "no", "one")
			wire.turn(is.Options().Addr)
			if by := time.Until(serverTime(t, is)).Round(time.Minute); by != off {
				t.Fatalf("the new master's clock is %v ahead, want %v", by, off)
			}
			beaten(t, is, workers)

			due := map[string]time.Time{"delayed": serverTime(t, is).Add(2 * time.Second)}
			for range each {
				create(jobs.Deadline(serverTime(t, is).Add(2 * time.Minute)))
			}
			produce(t, s, 0, "create", "sim", `{"steps":[{"incr":"delayed"}]}`, "--in", "2s")
			notBefore(t, is, due)
			once(t, c, list)
			for i, line := range parseLines(t, produce(t, s, 0, "await", "--json", group)) {
				if string(line.Value) != strconv.Itoa(i) || line.Attempt != 1 {
					t.Errorf("member %d: %+v", i, line)
				}
			}
			if got := produce(t, s, 0, "await", kept); got != `"kept"` {
				t.Errorf("what had ended before: %s", got)
			}
			if state := jsonField(t, produce(t, s, 0, "status", "--json", later), "state"); state != "scheduled" || simKey(t, is, "later") != 0 {
				t.Errorf("what is due in an hour is %s", state)
			}
			n := simKey(t, is, "n")
			if n != 3*each {
				t.Errorf("%d tasks ran %d times", 3*each, n)
			}
			nobodyDied(t, "clock-jumps", workers, map[string]any{"tasks": 3 * each, "executions": n, "ahead_ms": millis(off)})
			healthy(t, s)
		})
	}
}

// beaten waits until each worker has beaten twice.
func beaten(t *testing.T, rdb *redis.Client, workers []*program) {
	t.Helper()
	beat := func(w *program) int {
		for _, key := range allKeys(t, rdb) {
			if w.of(key) && strings.Contains(key, "}:w:") {
				n, _ := rdb.HGet(t.Context(), key, "n").Int()
				return n
			}
		}
		return 0
	}
	for _, w := range workers {
		before := beat(w)
		eventually(t, "two beats", func() bool { return beat(w) >= before+2 })
	}
}

// serverTime is Redis' own.
func serverTime(t *testing.T, rdb *redis.Client) time.Time {
	t.Helper()
	now, err := rdb.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// notBefore watches counters of the sim type until each has counted, which none may before its time by Redis' clock.
func notBefore(t *testing.T, rdb *redis.Client, due map[string]time.Time) {
	t.Helper()
	open := map[string]bool{}
	for id := range due {
		open[id] = true
	}
	eventually(t, "all that was delayed", func() bool {
		for id := range open {
			tx := rdb.TxPipeline()
			count, now := tx.Get(t.Context(), "sim:"+id), tx.Time(t.Context())
			if _, err := tx.Exec(t.Context()); err != nil && !errors.Is(err, redis.Nil) {
				t.Fatal(err)
			}
			if count.Val() == "" {
				continue
			}
			if early := due[id].Sub(now.Val()); early > 0 {
				t.Errorf("%s ran %v before its time", id, early)
			}
			delete(open, id)
		}
		return len(open) == 0
	})
}
