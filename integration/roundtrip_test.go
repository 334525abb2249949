package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/gatherq/gatherq/integration/redistest"
)

func TestRoundTripOnEveryRedis(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		worker(t, s)

		if got, want := produce(t, s, 0, "create", "echo", `{"x":[1,2]}`, "--await"), `{"x":[1,2]}`; got != want {
			t.Errorf("create --await printed %s, want %s", got, want)
		}

		id := produce(t, s, 0, "create", "sim", `{"steps":[{"sleep_ms":50},{"return":"later"}]}`)
		if got := produce(t, s, 0, "await", id); got != `"later"` {
			t.Errorf("await printed %s", got)
		}
		line := parseLine(t, produce(t, s, 0, "await", "--json", id))
		if line.ID != id || line.State != "succeeded" || string(line.Value) != `"later"` || line.Attempt != 1 || line.Delivery < 1 ||
			line.Worker == "" || line.QueuedAt.IsZero() || line.StartedAt.IsZero() || line.FinishedAt.Before(line.StartedAt) {
			t.Errorf("result line %+v", line)
		}

		var in []string
		for i := range 200 {
			in = append(in, fmt.Sprintf(`{"steps":[{"sleep_ms":%d},{"return":%d}]}`, rand.IntN(30), i))
		}
		out := produceFrom(t, s, 0, strings.Join(in, "\n"), "gather", "sim", "-", "--await")
		for i, line := range strings.Split(out, "\n") {
			if line != fmt.Sprint(i) {
				t.Fatalf("line %d of the gather is %s", i, line)
			}
		}

		line = parseLine(t, produce(t, s, 1, "create", "sim", `{"steps":[{"raise":"it went wrong"}]}`, "--await", "--json"))
		if line.State != "failed" || line.Error == nil || line.Error.Kind != "error" || line.Error.Message != "it went wrong" {
			t.Errorf("a failure gave %+v %+v", line, line.Error)
		}
		line = parseLine(t, produce(t, s, 1, "create", "sim", `{"steps":[{"panic":"ouch"}]}`, "--await", "--json"))
		if line.State != "failed" || line.Error == nil || line.Error.Kind != "panic" || !strings.Contains(line.Error.Message, "ouch") {
			t.Errorf("a panic gave %+v %+v", line, line.Error)
		}
	})
}

func TestDecision10_ValuesAreOpaqueBytes(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		worker(t, s)
		for _, value := range []string{
			`{"b":1,"a":[9007199254740993,[],1.0]}`,
			`{"e":[],"o":{},"z":-0,"x":1e-07,"big":123456789012345678901234567890}`,
			`"\u003c<&>\u2028\ud83d\ude00é\/"`,
			`{"k":1,"k":2}`,
			`{"a": 1, "b" :[1 ,2] }`,
			`[[[[]]]]`,
			`null`,
			`""`,
		} {
			if got := produce(t, s, 0, "create", "echo", value, "--await"); got != value {
				t.Errorf("%s came back as %s", value, got)
			}
		}
	})
}

// Three workers, and 10,000 lines in no order, many of them more than once.
func TestGatherReturnsEveryLineInItsPlace(t *testing.T) {
	t.Parallel()
	s := redistest.Any(t)
	for range 3 {
		worker(t, s)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	shapes := []string{`%d`, `{"n":%d,"s":"<é\u2028>"}`, `[%d,1.0,[],{}]`, `"%d"`, `{"a":{"b":[null,true,%d]}}`, `{"b": %d, "a": 9007199254740993}`}
	var lines []string
	for i := range 7000 {
		lines = append(lines, fmt.Sprintf(shapes[rnd.IntN(len(shapes))], i))
	}
	for range 3000 {
		lines = append(lines, lines[rnd.IntN(7000)])
	}
	rnd.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })

	got := strings.Split(produceFrom(t, s, 0, strings.Join(lines, "\n")+"\n", "gather", "echo", "-", "--await"), "\n")
	if !slices.Equal(got, lines) {
		for i := range min(len(got), len(lines)) {
			if got[i] != lines[i] {
				t.Fatalf("of %d lines (want %d), line %d is %s, want %s", len(got), len(lines), i, got[i], lines[i])
			}
		}
		t.Fatalf("%d lines, want %d", len(got), len(lines))
	}
}
