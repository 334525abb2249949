package jobs

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/record"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Every bound, just inside and just outside.
func TestOptionBounds(t *testing.T) {
	const day = 24 * time.Hour
	uuid := newUUID()
	for _, test := range []struct {
		field  string
		inside []CallOption
		beyond []CallOption
	}{
		{
			"queue",
			[]CallOption{Queue("a"), Queue("0"), Queue("a.b_c-d"), Queue(strings.Repeat("q", 64))},
			[]CallOption{
				Queue(""), Queue("A"), Queue("-a"), Queue(".a"), Queue("a b"), Queue("a}:t:x"), Queue("a:b"), Queue("{a}"),
				Queue("a\r\nb"), Queue("a\x00"), Queue("é"), Queue(strings.Repeat("q", 65)),
			},
		},
		{"retries", []CallOption{Retries(0), Retries(1000)}, []CallOption{Retries(-1), Retries(1001), Retries(math.MinInt)}},
		{
			"backoff",
			[]CallOption{Backoff(time.Millisecond, time.Millisecond), Backoff(time.Millisecond, day), Backoff(day, day)},
			[]CallOption{
				Backoff(0, time.Second), Backoff(time.Millisecond-1, time.Second), Backoff(day+1, day+1), Backoff(-1, 1), Backoff(math.MinInt64, day),
			},
		},
		{
			"backoff max",
			nil,
			[]CallOption{Backoff(time.Second, time.Second-1), Backoff(time.Second, day+1), Backoff(time.Second, 0), Backoff(time.Second, math.MaxInt64)},
		},
		{"timeout", []CallOption{Timeout(time.Millisecond), Timeout(day)}, []CallOption{Timeout(0), Timeout(time.Millisecond - 1), Timeout(day + 1), Timeout(-day)}},
		{"grace", []CallOption{Grace(0), Grace(10 * time.Minute)}, []CallOption{Grace(-1), Grace(10*time.Minute + 1)}},
		{"retention", []CallOption{Retention(time.Second), Retention(30 * day)}, []CallOption{Retention(0), Retention(time.Second - 1), Retention(30*day + 1)}},
		{"max-pending", []CallOption{MaxPending(time.Millisecond), MaxPending(maxAhead)}, []CallOption{MaxPending(0), MaxPending(-1), MaxPending(maxAhead + 1)}},
		{
			"id",
			[]CallOption{ID("a"), ID("A"), ID("9"), ID("a._-Z"), ID(strings.Repeat("i", 128)), ID("t:" + uuid), ID("g:" + uuid)},
			[]CallOption{
				ID(""), ID("-a"), ID("a:0"), ID("g:" + uuid + ":0"), ID("t:x"), ID("t:" + strings.ToUpper(uuid)), ID("c:" + strings.Repeat("a", 40)),
				ID("a b"), ID("a\r\nb"), ID("a}b"), ID("a/b"), ID("ä"), ID("a\x00"), ID(strings.Repeat("i", 129)),
			},
		},
		{"on-conflict", []CallOption{OnConflict(ConflictReturn), OnConflict(ConflictError), OnConflict(ConflictRerun)}, []CallOption{OnConflict(-1), OnConflict(3)}},
		{"delay", []CallOption{Delay(0), Delay(1), Delay(maxAhead)}, []CallOption{Delay(-1), Delay(maxAhead + 1), Delay(math.MinInt64)}},
		{
			"at",
			[]CallOption{At(now), At(now.AddDate(-40, 0, 0)), At(time.Unix(0, 0).UTC())},
			[]CallOption{At(time.Time{}), At(time.Unix(-1, 0).UTC()), At(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))},
		},
		{"deadline", []CallOption{Deadline(now)}, []CallOption{Deadline(time.Time{}), Deadline(time.Unix(math.MaxInt64, 0))}},
	} {
		def := Define[int, int]("x")
		resolve := func(o CallOption) *RejectedError {
			call := def.Call(1, o)
			_, r := call.resolve(time.Hour, nil)
			return r
		}
		for i, o := range test.inside {
			if r := resolve(o); r != nil {
				t.Errorf("%s, inside %d: %v", test.field, i, r)
			}
		}
		for i, o := range test.beyond {
			r := resolve(o)
			if r == nil || r.Field != test.field || r.Why == "" || !errors.Is(r, ErrRejected) {
				t.Errorf("%s, beyond %d: %v", test.field, i, r)
				continue
			}
			if len(r.Error()) > 300 || strings.ContainsAny(r.Error(), "\r\n\x00") {
				t.Errorf("%s, beyond %d: the message carries the input: %q", test.field, i, r)
			}
			// the same option says the same as a default of a definition and of a gather
			if d, ok := o.(Option); ok {
				if again, _ := errors.AsType[*RejectedError](Define[int, int]("x", d).Err()); again == nil || *again != *r {
					t.Errorf("%s, beyond %d: a definition says %v", test.field, i, again)
				}
			}
			var s settings
			if again := s.gather([]GatherOption{o}); again == nil || *again != *r {
				t.Errorf("%s, beyond %d: a gather says %v", test.field, i, again)
			}
		}
	}
}

func TestOptionsTogether(t *testing.T) {
	def := Define[int, int]("x")
	for name, test := range map[string]struct {
		opts  []CallOption
		field string
	}{
		"delay and at":       {[]CallOption{Delay(time.Second), At(now)}, "at"},
		"at and delay":       {[]CallOption{At(now), Delay(time.Second)}, "at"},
		"a delay of 0 is it": {[]CallOption{At(now), Delay(0)}, "at"},
		"nil":                {[]CallOption{nil}, "option"},
	} {
		call := def.Call(1, test.opts...)
		if _, r := call.resolve(time.Hour, nil); r == nil || r.Field != test.field {
			t.Errorf("%s: %v", name, r)
		}
	}
	var zero Call[int]
	if _, r := zero.resolve(time.Hour, nil); r == nil || r.Field != "call" {
		t.Error("the zero Call:", r)
	}
	if r, ok := errors.AsType[*RejectedError](Define[int, int]("x", nil).Err()); !ok || r.Field != "option" {
		t.Error("a nil option in a definition:", r)
	}
	var none Definition[int, int]
	if r, ok := errors.AsType[*RejectedError](none.Err()); !ok || r.Field != "type" {
		t.Error("the zero Definition:", r)
	}
	if err := Define[int, int]("ok.type-1", Retries(1)).Err(); err != nil {
		t.Error(err)
	}
}

// What is said nearer to the use wins, and what is said last.
func TestOptionPrecedence(t *testing.T) {
	def := Define[int, int]("x", Queue("def"), Retries(1), Timeout(time.Minute), Retention(2*time.Hour))
	call := def.Call(1, Retries(3), Retries(4), ID("mine"))
	around := []GatherOption{Queue("gather"), Retries(2), Grace(0), ID("group"), Delay(time.Hour), OnConflict(ConflictError), Deadline(now)}
	s, r := call.resolve(time.Hour, around)
	if r != nil {
		t.Fatal(r)
	}
	if s.queue != "gather" || s.task.Retries != 4 || s.task.Timeout() != time.Minute || s.retention != 2*time.Hour || s.task.Grace() != 0 {
		t.Errorf("%+v", s)
	}
	if s.id != "mine" || s.delay != 0 || s.delayed || !s.deadline.IsZero() || s.conflict != ConflictReturn {
		t.Errorf("what holds for the group came to the call: %+v", s)
	}
	g := newSettings(time.Hour)
	if r := g.gather(around); r != nil {
		t.Fatal(r)
	}
	if g.id != "group" || g.delay != time.Hour || g.conflict != ConflictError || !g.deadline.Equal(now) || g.queue != "gather" {
		t.Errorf("%+v", g)
	}
}

func TestOptionDefaults(t *testing.T) {
	call := Define[int, int]("x").Call(1)
	s, r := call.resolve(3*time.Hour, nil)
	if r != nil {
		t.Fatal(r)
	}
	if s.queue != "default" || s.retention != 3*time.Hour || s.maxPending != 7*24*time.Hour || s.later() || s.onConflict() != record.Return {
		t.Errorf("%+v", s)
	}
	if b := s.task.Encode(); b != nil {
		t.Errorf("defaults take %d bytes in the record", len(b))
	}
}

// What is stored comes back as it was said, an explicit zero among it.
func TestOptionsInTheRecord(t *testing.T) {
	call := Define[int, int]("x").Call(1, Retries(7), Backoff(1500*time.Microsecond, time.Hour), Timeout(90*time.Second), Grace(0))
	s, r := call.resolve(time.Hour, nil)
	if r != nil {
		t.Fatal(r)
	}
	back, err := record.DecodeOptions(s.task.Encode())
	if err != nil {
		t.Fatal(err)
	}
	first, last := back.Backoff()
	if back.Retries != 7 || first != 2*time.Millisecond || last != time.Hour || back.Timeout() != 90*time.Second || back.Grace() != 0 {
		t.Errorf("%+v", back)
	}
	if none, err := record.DecodeOptions(nil); err != nil || none.Grace() != 30*time.Second || none.Timeout() != 30*time.Minute {
		t.Errorf("%+v %v", none, err)
	}
	if _, err := record.DecodeOptions([]byte(`{`)); err == nil {
		t.Error("broken options decode")
	}
	if newer, err := record.DecodeOptions([]byte(`{"r":1,"zz":[1]}`)); err != nil || newer.Retries != 1 {
		t.Error("options of a newer version:", newer, err)
	}
}

func TestClientConfigBounds(t *testing.T) {
	rdb := unreachable(t)
	for _, test := range []struct {
		field string
		cfg   ClientConfig
	}{
		{"", ClientConfig{}},
		{"", ClientConfig{Namespace: "a", MaxArgs: 1, MaxResult: 1 << 20, Retention: time.Second, Patience: time.Millisecond}},
		{"", ClientConfig{Namespace: strings.Repeat("n", 64), MaxArgs: 1 << 20, Retention: 30 * 24 * time.Hour}},
		{"namespace", ClientConfig{Namespace: "A"}},
		{"namespace", ClientConfig{Namespace: "a:b"}},
		{"namespace", ClientConfig{Namespace: "a}b"}},
		{"namespace", ClientConfig{Namespace: strings.Repeat("n", 65)}},
		{"max-args", ClientConfig{MaxArgs: -1}},
		{"max-args", ClientConfig{MaxArgs: 1<<20 + 1}},
		{"max-result", ClientConfig{MaxResult: -1}},
		{"max-result", ClientConfig{MaxResult: 1<<20 + 1}},
		{"retention", ClientConfig{Retention: time.Second - 1}},
		{"retention", ClientConfig{Retention: 30*24*time.Hour + 1}},
		{"patience", ClientConfig{Patience: -1}},
		{"patience", ClientConfig{Patience: time.Millisecond - 1}},
	} {
		c, err := NewClient(rdb, test.cfg)
		if test.field == "" {
			if err != nil {
				t.Errorf("%+v: %v", test.cfg, err)
				continue
			}
			if err := errors.Join(c.Close(), c.Close()); err != nil {
				t.Error("Close:", err)
			}
			continue
		}
		if r, ok := errors.AsType[*RejectedError](err); !ok || r.Field != test.field || r.Why == "" || c != nil {
			t.Errorf("%+v: %v", test.cfg, err)
		}
	}
	if _, err := NewClient(nil, ClientConfig{}); !errors.Is(err, ErrRejected) {
		t.Error("a nil client of Redis:", err)
	}
}

func TestCheckInfo(t *testing.T) {
	const good = "# Server\r\nredis_version:7.0.15\r\nrole:master\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\nmaxmemory:1000\r\n"
	for _, test := range []struct {
		name, info string
		evict      bool
		field      string
		warnings   int
	}{
		{"good", good, false, "", 0},
		{"nothing is known", "", false, "", 0},
		{"Valkey", strings.Replace(good, "7.0.15", "7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.0", 1), false, "", 0},
		{"newer", strings.Replace(good, "7.0.15", "10.0.0", 1), false, "", 0},
		{"old", strings.Replace(good, "7.0.15", "6.2.19", 1), false, "redis_version", 0},
		{"a replica", strings.Replace(good, "role:master", "role:slave", 1), false, "role", 0},
		{"evicts", strings.Replace(good, "noeviction", "allkeys-lru", 1), false, "maxmemory_policy", 0},
		{"may evict", strings.Replace(good, "noeviction", "volatile-ttl", 1), true, "", 1},
		{"no AOF", strings.Replace(good, "aof_enabled:1", "aof_enabled:0", 1), false, "", 1},
		{"no maxmemory", strings.Replace(good, "maxmemory:1000", "maxmemory:0", 1), false, "", 1},
	} {
		log := &countingLog{}
		server := core.Server{}
		for line := range strings.Lines(test.info) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
			server[name] = value
		}
		r := checkServer(server, test.evict, log.logger().Warn)
		if (r == nil) != (test.field == "") || r != nil && r.Field != test.field || log.n != test.warnings {
			t.Errorf("%s: %v, %d warnings", test.name, r, log.n)
		}
	}
}

func TestQueueListed(t *testing.T) {
	for text, want := range map[string]bool{
		`{"default":1}`: true, `{"low":3,"default":1}`: true, `{"low":3}`: false, ``: false, `[]`: false, `{`: false,
	} {
		if queueListed(text, "default") != want {
			t.Errorf("%s: want %v", text, want)
		}
	}
}

func TestClock(t *testing.T) {
	if got := clock(now.Add(time.Hour), now); got != "13:00:00 UTC" {
		t.Error(got)
	}
	if got := clock(now.Add(24*time.Hour).In(time.FixedZone("x", 3600)), now); got != "2026-11-23 12:00:00 UTC" {
		t.Error(got)
	}
}

func TestCallsAreValues(t *testing.T) {
	def := Define[json.RawMessage, int]("x")
	calls := def.Calls(json.RawMessage(`1`), json.RawMessage(`2`))
	if len(calls) != 2 || calls[1].Type() != "x" || len(def.Calls()) != 0 {
		t.Error(calls)
	}
	n := 0
	for c := range def.CallSeq(func(yield func(json.RawMessage) bool) {
		for range 10 {
			if !yield(nil) {
				return
			}
		}
	}) {
		if n++; n == 3 || c.Type() != "x" {
			break
		}
	}
	if n != 3 {
		t.Error("CallSeq does not stop", n)
	}
}
