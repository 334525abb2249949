package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/internal/fleet"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// ward is a namespace with one living worker that nobody runs: its beat is written by hand, so that nothing is repaired.
type ward struct {
	t       *testing.T
	rdb     *redis.Client
	keys    keys.Space
	records *record.Store
	groups  *group.Store
	carrier *carrier.Carrier
}

const (
	nurse = "w-alive" // holds what is held
	gone  = "w-gone"  // has never been
)

func newWard(t *testing.T) *ward {
	t.Helper()
	e, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	rdb := redis.NewClient(e.Options())
	t.Cleanup(func() { _ = rdb.Close() })
	c, k := conn.New(rdb, slog.New(slog.DiscardHandler)), keys.New("ward", 1)
	records := record.NewStore(c, k)
	w := &ward{
		t: t, rdb: rdb, keys: k, records: records, groups: group.NewStore(records),
		carrier: carrier.New(c, k, fleet.NewCrew(t.Context(), c, k).Of),
	}
	w.do("hset", k.Meta(), "shards", 1)
	now, err := rdb.Time(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	w.do("zadd", k.Workers(), now.UnixMilli(), nurse)
	return w
}

func (w *ward) do(args ...any) any {
	w.t.Helper()
	v, err := w.rdb.Do(w.t.Context(), args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		w.t.Fatalf("%v: %v", args, err)
	}
	return v
}

func (w *ward) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// create stores a task and hands it over; claimed, ended: that far.
func (w *ward) create(id string) record.Ref {
	w.t.Helper()
	_, err := w.records.Create(w.t.Context(), record.NewTask{ID: id, Type: "t", Queue: "q", Retention: time.Hour, MaxPending: time.Hour})
	w.must(err)
	ref := record.Ref{ID: id, Number: 1}
	w.must(w.carrier.HandOver(w.t.Context(), w.records, []record.HandOver{{Queue: "q", Delivery: record.Delivery{Refs: []record.Ref{ref}}}}))
	return ref
}

// take takes all deliveries out of the queue, as a worker that has claimed does.
func (w *ward) take() {
	prefix := w.keys.AsynqPrefix("q")
	ids, err := w.rdb.LRange(w.t.Context(), prefix+"pending", 0, -1).Result()
	w.must(err)
	for _, id := range ids {
		w.do("del", prefix+"t:"+id)
	}
	w.do("del", prefix+"pending")
}

func (w *ward) claim(ref record.Ref, worker string) {
	w.t.Helper()
	claims, err := w.records.Claim(w.t.Context(), worker, "nonce", ref)
	w.must(err)
	if claims[0].Status != record.Claimed {
		w.t.Fatalf("%+v", claims[0])
	}
}

func (w *ward) settle(ref record.Ref, worker string) {
	w.t.Helper()
	_, err := w.records.Settle(w.t.Context(), worker, ref, record.Outcome{State: record.Succeeded, Value: []byte("1"), Attempt: 1})
	w.must(err)
}

var profile = &group.Profile{Type: "t", Queue: "q", Retention: time.Hour, MaxPending: time.Hour}

// gather stores a group of n members in one queue, with its tickets.
func (w *ward) gather(id string, n int) {
	w.t.Helper()
	st := w.groups.Stage(group.Spec{ID: id, Queue: "q", Retention: time.Hour, MaxPending: time.Hour})
	for range n {
		w.must(st.Add(w.t.Context(), group.Member{Profile: profile, Args: []byte("1")}))
	}
	_, err := st.Commit(w.t.Context(), w.carrier)
	w.must(err)
}

func (w *ward) examine() Report {
	w.t.Helper()
	r, err := Examine(w.t.Context(), Config{Redis: w.rdb, Namespace: "ward", Again: time.Millisecond})
	w.must(err)
	return r
}

// scene is what stands in every ward: work of each kind, in order.
func (w *ward) scene() {
	done := w.create("done")
	w.claim(done, nurse)
	w.settle(done, nurse)
	w.claim(w.create("held"), nurse)
	w.take()
	w.create("waits")
	_, err := w.records.Create(w.t.Context(), record.NewTask{ID: "later", Type: "t", Queue: "q", Retention: time.Hour, MaxPending: time.Hour, Delay: time.Hour})
	w.must(err)
	w.gather("grp", 3)
	nonce := w.rdb.HGet(w.t.Context(), w.keys.Record("grp"), "no").Val()
	pull, _, err := w.groups.Next(w.t.Context(), nurse, record.Ticket{Group: "grp", Nonce: nonce, Place: 0, Number: 1}, "n1", 1, 0, nil)
	w.must(err)
	if pull.Status != group.GotRange {
		w.t.Fatalf("%+v", pull)
	}
	staged := w.groups.Stage(group.Spec{ID: "never", Queue: "q"})
	for range 5000 { // some segments are sent
		w.must(staged.Add(w.t.Context(), group.Member{Profile: profile, Args: []byte(`"` + strings.Repeat("x", 100) + `"`)}))
	}
}

// What is in order is no finding, and the doctor writes nothing.
func TestDecision34_DoctorFindsNothingWhereNothingIsWrong(t *testing.T) {
	w := newWard(t)
	w.scene()
	w.rdb.AddHook(readers{t})
	r := w.examine()
	if len(r.Findings) != 0 || r.Looks != 1 {
		t.Errorf("%d looks, %+v", r.Looks, r.Findings)
	}
	if r.Keys < 8 || r.Open < 4 || r.Deliveries < 3 || r.Workers != 1 {
		t.Errorf("it has not looked at everything: %+v", r)
	}
}

// readers fails a test at a command that is none of reading, or that reads all at once.
type readers struct{ t *testing.T }

var reading = []string{
	"time", "hget", "hmget", "hexists", "zscore", "llen", "pttl", "exists", "sismember", "scan", "hscan", "sscan", "zscan", "lrange", "zrange",
	"zrangebyscore", "smembers", "hello", "client",
}

func (h readers) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (h readers) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.check(cmd)
		return next(ctx, cmd)
	}
}

func (h readers) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			h.check(cmd)
		}
		return next(ctx, cmds)
	}
}

func (h readers) check(cmd redis.Cmder) {
	if !slices.Contains(reading, strings.ToLower(cmd.Name())) {
		h.t.Errorf("the doctor sends %v", cmd.Args())
	}
}

// Each kind of damage, done by hand, is found, and named.
func TestDecision34_DoctorFindsDamage(t *testing.T) {
	k := keys.New("ward", 1)
	p, queue := k.Prefix(0), k.AsynqPrefix("q")
	old := time.Now().Add(-time.Minute).UnixMilli()
	for _, tt := range []struct {
		kind    Kind
		subject string
		damage  func(w *ward)
	}{
		{OpenUnindexed, "waits", func(w *ward) { w.do("zrem", k.Open(0), "waits") }},
		{OpenUnindexed, "grp", func(w *ward) { w.do("zrem", k.Open(0), "grp") }},
		{OpenOrphan, "nobody", func(w *ward) { w.do("zadd", k.Open(0), "9e15", "nobody") }},
		{OpenOrphan, "#7:grp", func(w *ward) { w.do("zadd", k.Open(0), "9e15", "#7:grp") }},
		{OpenOrphan, "done", func(w *ward) { w.do("zadd", k.Open(0), "9e15", "done") }},
		{OpenExpires, "waits", func(w *ward) { w.do("pexpire", k.Record("waits"), 3600000) }},
		{Overdue, "later", func(w *ward) { w.do("zadd", k.Open(0), old, "later") }},
		{DeliveryMissing, "waits", func(w *ward) { w.drop("waits") }},
		{DeliveryMissing, "grp#1", func(w *ward) { w.drop("grp", 1) }},
		{DeliveryStale, "", func(w *ward) { w.do("hincrby", k.Record("waits"), "n", 1) }},
		{DeliveryStale, "", func(w *ward) { w.do("del", k.Record("waits")) }},
		{DeliveryStray, "x", func(w *ward) { w.do("zadd", queue+"lease", time.Now().Add(-time.Minute).Unix(), "x") }},
		{DeliveryParked, "x", func(w *ward) { w.do("zadd", queue+"archived", 1, "x") }},
		{DeliveryBroken, "x", func(w *ward) { w.do("lpush", queue+"pending", "x") }},
		{HolderDead, "held", func(w *ward) { w.do("hset", k.Record("held"), "h", gone) }},
		{HolderDead, "lost", func(w *ward) { w.do("sadd", k.Holdings(0, gone), "lost") }},
		{HoldingMissing, "held", func(w *ward) { w.do("srem", k.Holdings(0, nurse), "held") }},
		{HoldingMissing, "grp[0,1)", func(w *ward) { w.do("srem", k.Holdings(0, nurse), "x|grp|1") }},
		{HoldingMissing, "grp#0", func(w *ward) { w.do("srem", k.Holdings(0, nurse), "t|grp|0") }},
		{HoldingStale, "done", func(w *ward) { w.do("sadd", k.Holdings(0, nurse), "done") }},
		{HoldingStale, "x|grp|9", func(w *ward) { w.do("sadd", k.Holdings(0, nurse), "x|grp|9") }},
		{GroupStuck, "grp", func(w *ward) { w.do("hdel", k.Record("grp"), "t0", "t1", "t2") }},
		{StagingLeft, "nonce", func(w *ward) { w.do("hset", p+"a:nonce:0", "0", "x") }},
		{OutboxLate, "t|x|1", func(w *ward) { w.do("hset", k.Outbox(0), "t|x|1", fmt.Sprintf("13:%d1:t1:x", old)) }},
		{OutboxLate, "t|x|1", func(w *ward) { w.do("hset", k.Outbox(0), "t|x|1", "x") }},
		{NoTTL, "done", func(w *ward) { w.do("persist", k.Record("done")) }},
		{NoTTL, k.Tombstone("done"), func(w *ward) { w.do("persist", k.Tombstone("done")) }},
		{KeyOrphan, p + "v:nobody:0", func(w *ward) { w.do("hset", p+"v:nobody:0", "1", "x") }},
		{KeyUnknown, p + "what:x", func(w *ward) { w.do("set", p+"what:x", "1") }},
		{KeyUnknown, "gq:{ward:3}:open", func(w *ward) { w.do("zadd", "gq:{ward:3}:open", 1, "x") }},
		{KeyUnknown, k.Outbox(0), func(w *ward) { w.do("set", k.Outbox(0), "x") }},
		{WorkerDead, gone, func(w *ward) { w.do("zadd", k.Workers(), old, gone) }},
	} {
		t.Run(string(tt.kind)+" "+tt.subject, func(t *testing.T) {
			t.Parallel()
			w := newWard(t)
			w.scene()
			tt.damage(w)
			r := w.examine()
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool {
				return f.Kind == tt.kind && (f.Subject == tt.subject || tt.subject == "") && f.Detail != ""
			}) || r.Looks != 2 {
				t.Errorf("%d looks found %+v", r.Looks, r.Findings)
			}
		})
	}
}

// drop takes the delivery of a task, or of a place's ticket, out of asynq.
func (w *ward) drop(id string, place ...int) {
	w.t.Helper()
	prefix := w.keys.AsynqPrefix("q")
	for _, m := range w.rdb.LRange(w.t.Context(), prefix+"pending", 0, -1).Val() {
		d, ok := carrier.Message([]byte(w.rdb.HGet(w.t.Context(), prefix+"t:"+m, "msg").Val()))
		if ok && (len(d.Refs) > 0 && d.Refs[0].ID == id || d.Ticket != nil && len(place) > 0 && d.Ticket.Group == id && d.Ticket.Place == place[0]) {
			w.do("lrem", prefix+"pending", 1, m)
			w.do("del", prefix+"t:"+m)
			return
		}
	}
	w.t.Fatalf("no delivery of %s", id)
}

// What is gone at the second look was none.
func TestDecision34_DoctorLooksTwice(t *testing.T) {
	w := newWard(t)
	w.do("zadd", w.keys.Open(0), "9e15", "passing")
	w.do("zadd", w.keys.Open(0), "9e15", "stays")
	var once sync.Once
	w.rdb.AddHook(after{name: "zscan", then: func() { once.Do(func() { w.do("zrem", w.keys.Open(0), "passing") }) }})
	r, err := Examine(t.Context(), Config{Redis: w.rdb, Namespace: "ward", Again: time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Subject != "stays" {
		t.Errorf("%+v, %v", r.Findings, err)
	}
}

// after calls then after a command.
type after struct {
	name string
	then func()
}

func (h after) DialHook(next redis.DialHook) redis.DialHook { return next }
func (h after) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if cmd.Name() == h.name {
			h.then()
		}
		return err
	}
}
func (h after) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// docs/operations.md says of every kind what it means.
func TestDecision34_OperationsNamesEveryFinding(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "## producer doctor")
	section, _, _ = strings.Cut(section, "\n## ")
	var rows, kinds []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| .+ \\| .+ \\|$").FindAllStringSubmatch(section, -1) {
		rows = append(rows, row[1])
	}
	for _, kind := range Kinds {
		kinds = append(kinds, string(kind))
	}
	if !slices.Equal(rows, kinds) {
		t.Errorf("the table has %q, the doctor %q", rows, kinds)
	}
}
