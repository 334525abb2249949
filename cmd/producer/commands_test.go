package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/keys"
)

const awkward = `{"b":1,"a":[9007199254740993,[],1.0]}`

func TestDecision10_ValuesKeepTheirBytes(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(4)
	for _, value := range []string{
		awkward, `null`, `""`, `[]`, `{}`, `1e400`, `[-0]`, `0.10`, `"<&>\u2028 \/ ä"`, `{"a":1, "a":2}`, `[ 1 , {} ]`, strings.Repeat(`[`, 1000) + strings.Repeat(`]`, 1000),
	} {
		r := f.want(0, f.run("create", "echo", value, "--await"))
		if r.stdout != value+"\n" {
			t.Errorf("create: %.100s came back as %.100s", value, r.stdout)
		}
		if g := f.want(0, f.feed(value+"\n"+value+"\r\n", "gather", "echo", "--await")); g.stdout != value+"\n"+value+"\n" {
			t.Errorf("gather: %.100s came back as %.100s", value, g.stdout)
		}
	}
	// Only line ends are taken out, with the white space between tokens.
	if r := f.want(0, f.feed("{\n  \"b\": 1.0,\n  \"a\": [ ]\n}", "create", "echo", "-", "--await")); r.stdout != `{"b":1.0,"a":[]}`+"\n" {
		t.Errorf("several lines came back as %q", r.stdout)
	}
}

func TestCreatePrintsTheID(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := strings.TrimSpace(f.want(0, f.run("create", "echo", `{"x":1}`)).stdout)
	if !strings.HasPrefix(id, "t:") {
		t.Fatalf("ID %q", id)
	}
	var line struct{ ID string }
	if err := json.Unmarshal([]byte(f.want(0, f.run("create", "echo", "1", "--json", "--id", "mine")).stdout), &line); err != nil || line.ID != "mine" {
		t.Fatalf("line %+v, %v", line, err)
	}
	// The same again is the same task; something else under its ID is not.
	f.want(0, f.run("create", "echo", "1", "--id", "mine"))
	r := f.want(2, f.run("create", "echo", "2", "--id", "mine"))
	if !strings.HasPrefix(r.stderr, "producer: conflict: ") {
		t.Errorf("stderr %q", r.stderr)
	}
	f.want(2, f.run("create", "sleep", "1", "--id", "mine"))
	f.want(2, f.run("create", "echo", "1", "--id", "mine", "--on-conflict", "error"))
	f.want(2, f.feed("1\n", "gather", "echo", "--id", "mine"))
	f.work(4)
	for range 2 { // reading consumes nothing
		if r := f.want(0, f.run("await", id, "mine")); r.stdout != "{\"x\":1}\n1\n" {
			t.Errorf("awaited %q", r.stdout)
		}
	}
	r = f.want(0, f.run("create", "echo", "3", "--await"))
	if !strings.HasPrefix(r.stderr, "t:") || r.stdout != "3\n" {
		t.Errorf("with --await stdout is %q, stderr %q", r.stdout, r.stderr)
	}
}

func TestResultLines(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(4)
	type line struct {
		ID, State, Worker string
		Index             *int
		Value             json.RawMessage
		Error             *struct{ Kind, Message string }
		Attempt, Delivery int
		QueuedAt          time.Time `json:"queued_at"`
		StartedAt         time.Time `json:"started_at"`
		FinishedAt        time.Time `json:"finished_at"`
	}
	parse := func(text string) (l line) {
		t.Helper()
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return l
	}
	r := f.want(0, f.run("create", "echo", awkward, "--await", "--json"))
	l := parse(r.lines()[0])
	if len(r.lines()) != 1 || l.State != "succeeded" || string(l.Value) != awkward || l.Error != nil || l.Attempt != 1 || l.Worker == "" {
		t.Errorf("success: %s", r.stdout)
	}
	if l.QueuedAt.IsZero() || l.StartedAt.Before(l.QueuedAt) || l.FinishedAt.Before(l.StartedAt) {
		t.Errorf("times: %s", r.stdout)
	}
	r = f.want(1, f.run("create", "sim", `{"steps":[{"raise":"boom"}]}`, "--await", "--json", "--retries", "1", "--backoff", "1ms"))
	l = parse(r.lines()[0])
	if len(r.lines()) != 1 || l.State != "failed" || l.Error == nil || l.Error.Kind != "error" || l.Error.Message != "boom" || l.Attempt != 2 {
		t.Errorf("failure: %s", r.stdout)
	}
	if !strings.Contains(r.stderr, "producer: error: ") || !strings.Contains(r.stderr, "boom") {
		t.Errorf("stderr %q", r.stderr)
	}
	r = f.want(0, f.feed("1\n2\n", "gather", "echo", "--await", "--json"))
	for i, text := range r.lines() {
		if l = parse(text); l.Index == nil || *l.Index != i || string(l.Value) != fmt.Sprint(i+1) {
			t.Errorf("member: %s", text)
		}
	}
	r = f.want(4, f.run("await", "nobody", "--json"))
	if l = parse(r.lines()[0]); l.ID != "nobody" || l.Error == nil || l.Error.Kind != "unknown" {
		t.Errorf("unknown: %s", r.stdout)
	}
	r = f.want(124, f.run("create", "sim", `{"steps":[{"sleep_ms":60000}]}`, "--await", "--await-timeout", "100ms", "--json"))
	if l = parse(r.lines()[0]); l.State == "" || l.Error != nil {
		t.Errorf("timed out: %s", r.stdout)
	}
}

// Without --json a failure leaves stdout empty and one line on stderr, behind the ID.
func TestFailureExits(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(4)
	for _, tc := range []struct {
		name, program, kind string
		code                int
		more                []string
	}{
		{name: "error", program: `{"steps":[{"raise":"two\nlines \u001b[2J","retry":false}]}`, kind: "error", code: 1},
		{name: "panic", program: `{"steps":[{"panic":"oops"}]}`, kind: "panic", code: 1},
		{name: "timeout", program: `{"steps":[{"sleep_ms":60000}]}`, kind: "timeout", code: 1, more: []string{"--timeout", "50ms"}},
		{name: "bad args", program: `{"steps":7}`, kind: "bad_args", code: 1},
		{name: "deadline", program: `{"steps":[]}`, kind: "deadline", code: 1, more: []string{"--deadline", "1ms", "--in", "1h"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := f.want(tc.code, f.run(append([]string{"create", "sim", tc.program, "--await"}, tc.more...)...))
			lines := strings.Split(strings.TrimSuffix(r.stderr, "\n"), "\n")
			if r.stdout != "" || len(lines) != 2 || !strings.HasPrefix(lines[1], "producer: "+tc.kind+": ") || strings.Contains(r.stderr, "\x1b") {
				t.Errorf("stdout %q, stderr %q", r.stdout, r.stderr)
			}
		})
	}
}

func TestGatherInOrder(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(16)
	f.work(16)
	var in []string
	for i := range 500 {
		in = append(in, fmt.Sprintf(`{"n":%d,"x":[1.0,"<%d>"]}`, i, i), fmt.Sprint(i%7))
	}
	rand.Shuffle(len(in), func(i, j int) { in[i], in[j] = in[j], in[i] })
	r := f.want(0, f.feed(strings.Join(in, "\n"), "gather", "echo", "-", "--await"))
	if !slices.Equal(r.lines(), in) {
		t.Fatalf("%d lines came back for %d, not the same in order", len(r.lines()), len(in))
	}
	id := strings.TrimSpace(strings.Split(r.stderr, "\n")[0])
	if r := f.want(0, f.run("await", id)); !slices.Equal(r.lines(), in) {
		t.Error("another await got something else")
	}
	if r := f.want(0, f.run("await", id+":3", id+":999")); !slices.Equal(r.lines(), []string{in[3], in[999]}) {
		t.Errorf("members: %q", r.lines())
	}
	r = f.want(0, f.run("await", id, "--as-completed"))
	seen := map[string]bool{}
	for _, line := range r.lines() {
		index, value, _ := strings.Cut(line, "\t")
		var i int
		if _, err := fmt.Sscan(index, &i); err != nil || in[i] != value || seen[index] {
			t.Fatalf("line %q, %v", line, err)
		}
		seen[index] = true
	}
	if len(seen) != len(in) {
		t.Errorf("%d of %d members as completed", len(seen), len(in))
	}
	if r := f.want(0, f.feed("", "gather", "echo", "--await")); r.stdout != "" {
		t.Errorf("a gather of nothing printed %q", r.stdout)
	}
}

const (
	simFails = `{"steps":[{"raise":"boom","retry":false}]}`
	simLong  = `{"steps":[{"sleep_ms":60000},{"return":1}]}`
	simOne   = `{"steps":[{"return":1}]}`
)

// The failing member alone is shown, at once, and what becomes of the others.
func TestGatherFailsFast(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(8)
	members := strings.Join([]string{simOne, simLong, simFails, simLong}, "\n")
	for _, flags := range [][]string{nil, {"--json"}, {"--as-completed"}} {
		start := time.Now()
		r := f.want(1, f.feed(members, append([]string{"gather", "sim", "--await"}, flags...)...))
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%v: took %v", flags, took)
		}
		id := strings.TrimSpace(strings.Split(r.stderr, "\n")[0])
		for _, want := range []string{"producer: error: " + id + ":2", "boom", "run on", "status " + id + " --watch", "cancel " + id} {
			if !strings.Contains(r.stderr, want) {
				t.Errorf("%v: stderr lacks %q:\n%s", flags, want, r.stderr)
			}
		}
		switch {
		case flags == nil && r.stdout != "":
			t.Errorf("stdout %q", r.stdout)
		case slices.Contains(flags, "--json"):
			var l struct {
				Index int
				State string
				Error struct{ Kind, Message string }
			}
			if err := json.Unmarshal([]byte(r.stdout), &l); err != nil || l.Index != 2 || l.State != "failed" || l.Error.Message != "boom" {
				t.Errorf("stdout %q, %v", r.stdout, err)
			}
		case slices.Contains(flags, "--as-completed") && r.stdout != "" && r.stdout != "0\t1\n":
			t.Errorf("stdout %q", r.stdout)
		}
		f.want(0, f.run("cancel", id, "--wait", "--reason", "enough"))
	}
}

func TestGatherReturnsErrors(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(8)
	r := f.want(0, f.feed(strings.Join([]string{simOne, simFails, simOne}, "\n"), "gather", "sim", "--await", "--return-errors"))
	if want := []string{"1", `{"error":{"kind":"error","message":"boom"}}`, "1"}; !slices.Equal(r.lines(), want) {
		t.Errorf("got %q, want %q", r.lines(), want)
	}
	id := strings.TrimSpace(strings.Split(r.stderr, "\n")[0])
	r = f.want(0, f.run("await", id, "--as-completed", "--return-errors"))
	got := r.lines()
	slices.Sort(got)
	if want := []string{"0\t1", "1\t" + `{"error":{"kind":"error","message":"boom"}}`, "2\t1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	// Of a group that was cancelled as a whole the items are readable, and the exit code says it.
	id = strings.TrimSpace(f.want(0, f.feed(simLong+"\n"+simOne, "gather", "sim")).stdout)
	until(t, "the short member", func() bool { return strings.Contains(f.run("status", id, "--json").stdout, `"ended":1`) })
	f.want(0, f.run("cancel", id, "--wait"))
	r = f.want(3, f.run("await", id, "--return-errors"))
	if len(r.lines()) != 2 || r.lines()[1] != "1" || !strings.Contains(r.lines()[0], `"kind":"cancelled"`) {
		t.Errorf("got %q", r.lines())
	}
	f.want(3, f.run("await", id))
}

// With several IDs the exit code is the first, in the order of the arguments, that is not 0; all have been awaited.
func TestAwaitSeveral(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(8)
	create := func(program string) string {
		return strings.TrimSpace(f.want(0, f.run("create", "sim", program)).stdout)
	}
	good, bad, long := create(simOne), create(simFails), create(simLong)
	f.want(0, f.run("cancel", long, "--wait"))
	group := strings.TrimSpace(f.want(0, f.feed(simOne+"\n"+`{"steps":[{"return":[2]}]}`, "gather", "sim")).stdout)
	for _, tc := range []struct {
		ids  []string
		code int
		out  []string
	}{
		{[]string{good, group, good}, 0, []string{"1", "1", "[2]", "1"}},
		{[]string{good, bad, "nobody"}, 1, []string{"1"}},
		{[]string{"nobody", bad, good, long}, 4, []string{"1"}},
		{[]string{long, bad, group + ":1"}, 3, []string{"[2]"}},
		{[]string{"no such id", good}, 2, []string{"1"}},
	} {
		if r := f.want(tc.code, f.run(append([]string{"await"}, tc.ids...)...)); !slices.Equal(r.lines(), tc.out) {
			t.Errorf("%q printed %q, want %q", tc.ids, r.lines(), tc.out)
		}
	}
}

func TestExpired(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.work(2)
	f.want(0, f.run("create", "echo", "1", "--await", "--id", "short", "--retention", "1s"))
	until(t, "the result to expire", func() bool { return f.run("await", "short").code == 4 })
	for _, args := range [][]string{{"await", "short"}, {"status", "short"}, {"cancel", "short"}} {
		if r := f.want(4, f.run(args...)); !strings.HasPrefix(r.stderr, "producer: expired: ") {
			t.Errorf("%q: %q", args, r.stderr)
		}
	}
}

func TestStatusAndCancel(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	id := strings.TrimSpace(f.want(0, f.run("create", "sim", simLong, "--queue", "low", "--retries", "3", "--max-crashes", "4")).stdout)
	r := f.want(0, f.run("status", id))
	for _, want := range []string{"pending", "sim", "low", "no worker serves queue low", "queued"} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("status lacks %q:\n%s", want, r.stdout)
		}
	}
	if op := f.rdb.HGet(t.Context(), keys.New("gatherq", 1).Record(id), "op").Val(); !strings.Contains(op, `"mc":4`) {
		t.Errorf("--max-crashes 4 is not in the options of the record: %s", op)
	}
	f.want(4, f.run("status", "nobody"))
	f.want(4, f.run("cancel", "nobody", id))
	r = f.want(3, f.run("await", id))
	if !strings.Contains(r.stderr, "producer: cancelled: "+id) {
		t.Errorf("stderr %q", r.stderr)
	}
	r = f.want(0, f.run("cancel", id, "--json"))
	if want := fmt.Sprintf(`{"id":%q,"accepted":false}`+"\n", id); r.stdout != want {
		t.Errorf("the second cancel printed %q, want %q", r.stdout, want)
	}
	f.work(4)
	group := strings.TrimSpace(f.want(0, f.feed(simLong+"\n"+simOne+"\n"+simOne, "gather", "sim", "--id", "grp")).stdout)
	until(t, "two members", func() bool { return strings.Contains(f.run("status", group).stdout, "2 of 3 ended") })
	if r := f.want(0, f.run("status", group+":0", "--json")); !strings.Contains(r.stdout, `"group":"grp","index":0`) {
		t.Errorf("member: %s", r.stdout)
	}
	watched := make(chan ran, 1)
	go func() { watched <- f.run("status", group, "--watch", "--interval", "50ms") }()
	r = f.want(0, f.run("cancel", group, "--reason", "enough", "--wait"))
	if r.stdout != "grp\tcancelled\n" {
		t.Errorf("cancel printed %q", r.stdout)
	}
	w := f.want(0, <-watched)
	if lines := w.lines(); !strings.Contains(lines[len(lines)-1], "3 of 3 ended") || !strings.Contains(lines[len(lines)-1], "cancelled") {
		t.Errorf("watched %q", lines)
	}
	if r := f.want(3, f.run("await", group)); !strings.Contains(r.stderr, "enough") {
		t.Errorf("the reason is not told: %q", r.stderr)
	}
}

// Redis that is not there is exit code 5, and says so.
func TestUnavailable(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.url = unreachable(t)
	for _, args := range [][]string{{"create", "echo", "1"}, {"status", "x"}, {"cancel", "x"}, {"await", "x:0"}} {
		start := time.Now()
		r := f.want(5, f.run(args...))
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("%q took %v", args, took)
		}
		if !strings.HasPrefix(r.stderr, "producer: unavailable") {
			t.Errorf("%q: stderr %q", args, r.stderr)
		}
	}
	// Bad input is refused before anybody asks Redis.
	f.want(2, f.run("create", "echo", "{"))
}
