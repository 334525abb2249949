package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// scene is a worker "w" that has beaten once and holds tasks, a range of a group and its ticket.
type scene struct {
	t       *testing.T
	rdb     *redis.Client
	conn    *conn.Conn
	keys    keys.Space
	records *record.Store
	groups  *group.Store
	carrier *carrier.Carrier
}

const (
	sceneTasks   = 3
	sceneMembers = 5
)

func nobody(string) carrier.Crew { return carrier.Crew{} }

func newScene(t *testing.T, ns string) *scene {
	t.Helper()
	rdb, c := start(t)
	return fill(t, rdb, c, ns)
}

func fill(t *testing.T, rdb *redis.Client, c *conn.Conn, ns string) *scene {
	t.Helper()
	k := keys.New(ns, 2)
	records := record.NewStore(c, k)
	s := &scene{t: t, rdb: rdb, conn: c, keys: k, records: records, groups: group.NewStore(records), carrier: carrier.New(c, k, nobody)}
	once(t, beatOf(c, k, "w"))
	for i := range sceneTasks {
		id := fmt.Sprint("t", i)
		_, err := records.Create(t.Context(), record.NewTask{ID: id, Type: "echo", Queue: "q", Args: record.Wrap([]byte("1")), Digest: []byte("d"),
			Retention: time.Hour, MaxPending: time.Hour})
		s.ok(err)
		_, err = records.Claim(t.Context(), "w", "n", record.Ref{ID: id, Number: 1})
		s.ok(err)
	}
	st := s.groups.Stage(group.Spec{ID: "g", Queue: "q", Retention: time.Hour, MaxPending: time.Hour})
	for range sceneMembers {
		s.ok(st.Add(t.Context(), group.Member{Profile: &group.Profile{Type: "echo", Queue: "q", Retention: time.Hour}, Args: record.Wrap([]byte("1")), Digest: []byte("d")}))
	}
	_, err := st.Commit(t.Context(), s.carrier)
	s.ok(err)
	_, _, err = s.groups.Next(t.Context(), "w", record.Ticket{Group: "g", Nonce: rdb.HGet(t.Context(), k.Record("g"), "no").Val(), Place: 0, Number: 1}, "n", 2, 0, nil)
	s.ok(err)
	return s
}

func (s *scene) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// reaper returns one that works over a connection of its own.
func (s *scene) reaper(id string, c *conn.Conn) *Reaper {
	records := record.NewStore(c, s.keys)
	cr := carrier.New(c, s.keys, nobody)
	return NewReaper(ReaperConfig{
		Conn: c, Keys: s.keys, ID: id, Reap: group.NewStore(records).Reap, Outbox: NewOutbox(OutboxConfig{}), Log: slog.New(slog.DiscardHandler),
		HandOver: func(ctx context.Context, hs []record.HandOver) error { return cr.HandOver(ctx, records, hs) },
	})
}

var silent = quiet{Late: Late{ID: "w", Beat: 1}, silent: deadAfter}

func (s *scene) buried() bool {
	return s.rdb.Exists(s.t.Context(), s.keys.Workers(), s.keys.Worker("w"), s.keys.Holdings(0, "w"), s.keys.Holdings(1, "w")).Val() == 0
}

// check wants everything to be delivered again, once and charged once; what nobody enqueued waits to be.
func (s *scene) check() {
	s.t.Helper()
	for i := range sceneTasks {
		in, err := s.records.Look(s.t.Context(), fmt.Sprint("t", i))
		s.ok(err)
		if in.State != record.Pending || in.Number < 2 || in.Crashes != 1 || in.Attempt != 1 {
			s.t.Errorf("%+v", in)
		}
		if !in.Marked && s.rdb.ZScore(s.t.Context(), s.keys.Open(s.keys.Shard(in.ID)), in.ID).Val() > float64(in.Now.Add(3*time.Second).UnixMilli()) {
			s.t.Errorf("%s waits for a delivery that nobody made", in.ID)
		}
	}
	p := s.pullAll()
	if p[0] != 1 || p[1] != 1 || p[2] != 0 || p[3] != 0 || p[4] != 0 || len(p) != sceneMembers {
		s.t.Errorf("crashes of the group's members: %v", p)
	}
}

// pullAll takes what is left of the group and returns the crashes of its members by index.
func (s *scene) pullAll() map[int]int {
	s.t.Helper()
	crashes := map[int]int{}
	f, err := s.rdb.HGetAll(s.t.Context(), s.keys.Record("g")).Result()
	s.ok(err)
	for place := range 32 {
		var number int64
		if _, err := fmt.Sscanf(f[fmt.Sprint("t", place)], "%d;;", &number); err != nil {
			continue
		}
		for n := 0; ; n++ {
			tk := record.Ticket{Group: "g", Nonce: f["no"], Place: place, Number: number}
			p, _, err := s.groups.Next(s.t.Context(), "after", tk, fmt.Sprint(n), 10, 0, nil)
			s.ok(err)
			if p.Status != group.GotRange {
				break
			}
			for _, m := range p.Range.Members {
				crashes[m.Index] = p.Range.Crashes
			}
		}
	}
	return crashes
}

func TestDecision01_TheDeadAreBuriedAndWhatTheyHeldIsDeliveredAgain(t *testing.T) {
	s := newScene(t, "ns")
	r := s.reaper("survivor", s.conn)
	s.ok(r.examine(t.Context(), silent))
	if !s.buried() {
		t.Error("it is still there")
	}
	s.check()
	if got, want := r.Stats(), (ReaperStats{Dead: 1, Redelivered: sceneTasks + 2 + 1}); got != want { // and two members and their ticket
		t.Errorf("%+v, want %+v", got, want)
	}
	if n := s.rdb.LLen(t.Context(), "asynq:{ns:q}:pending").Val(); n < sceneTasks+1 {
		t.Errorf("%d deliveries wait", n)
	}
}

func TestDecision01_WhoIsListenedForIsNotDead(t *testing.T) {
	s := newScene(t, "ns")
	sub := s.rdb.Subscribe(t.Context(), s.keys.Inbox("w"))
	defer sub.Close()
	if _, err := sub.Receive(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := s.reaper("survivor", s.conn)
	s.ok(r.examine(t.Context(), silent))
	if s.buried() || r.Stats().Dead != 0 {
		t.Error("buried though its subscription stands")
	}
	connected := silent
	connected.connected = true
	s.ok(r.examine(t.Context(), connected))
	if !s.buried() {
		t.Error("not buried though it was silent for very long")
	}
}

func TestDecision01_WhoHasBeatenSinceIsNotDead(t *testing.T) {
	s := newScene(t, "ns")
	r := s.reaper("survivor", s.conn)
	late := silent
	late.Beat = 0
	s.ok(r.examine(t.Context(), late))
	if s.buried() || r.Stats().Dead != 0 || s.rdb.SCard(t.Context(), s.keys.Holdings(0, "w")).Val()+s.rdb.SCard(t.Context(), s.keys.Holdings(1, "w")).Val() != sceneTasks+2 {
		t.Error("something was taken from a worker that had beaten since")
	}
}

func TestDecision05_WhoWasDrainingChargesNothing(t *testing.T) {
	s := newScene(t, "ns")
	once(t, beatOf(s.conn, s.keys, "w", func(cfg *BeatConfig) {
		cfg.Status = func() Status { return Status{Draining: true} }
	}))
	s.ok(s.reaper("survivor", s.conn).examine(t.Context(), silent))
	for i := range sceneTasks {
		if in, err := s.records.Look(t.Context(), fmt.Sprint("t", i)); err != nil || in.Crashes != 0 || in.Number != 2 {
			t.Errorf("%+v %v", in, err)
		}
	}
}

func TestALeaverHandsOverWhatItStillHolds(t *testing.T) {
	s := newScene(t, "ns")
	s.ok(s.reaper("w", s.conn).Return(t.Context(), 1))
	for shard := range 2 {
		if n := s.rdb.SCard(t.Context(), s.keys.Holdings(shard, "w")).Val(); n != 0 {
			t.Errorf("%d are left in shard %d", n, shard)
		}
	}
	if in, err := s.records.Look(t.Context(), "t0"); err != nil || in.State != record.Pending || in.Crashes != 0 {
		t.Errorf("%+v %v", in, err)
	}
}

// dying kills its process after some commands: the last one is executed, its answer does not arrive, nothing more is sent.
type dying struct {
	left atomic.Int64
	die  context.CancelFunc
}

var errDead = errors.New("this process is dead")

func (d *dying) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (d *dying) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if d.left.Load() <= 0 {
			cmd.SetErr(errDead)
			return errDead
		}
		err := next(ctx, cmd)
		if d.left.Add(-1) == 0 {
			d.die()
			cmd.SetErr(errDead)
			return errDead
		}
		return err
	}
}

// ProcessPipelineHook sends what is left to be sent of the pipeline.
func (d *dying) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		n := min(int(d.left.Load()), len(cmds))
		var err error
		if n > 0 {
			err = next(ctx, cmds[:n])
		}
		if d.left.Add(-int64(n)) > 0 {
			return err
		}
		d.die()
		for _, cmd := range cmds {
			cmd.SetErr(errDead)
		}
		return errDead
	}
}

// A reaper that dies behind any of its commands is followed by another, which goes on: nothing is lost and nothing charged twice.
func TestDecision01_AReaperMayDieAnywhere(t *testing.T) {
	for commands := int64(1); ; commands++ {
		alive := false
		synctest.Test(t, func(t *testing.T) {
			s := newScene(t, "ns")
			ctx, die := context.WithCancel(t.Context())
			defer die()
			own := redis.NewClient(s.rdb.Options())
			defer own.Close()
			d := &dying{die: die}
			d.left.Store(commands)
			own.AddHook(d)
			first := s.reaper("dies", conn.New(own, slog.New(slog.DiscardHandler)))
			alive = first.examine(ctx, silent) == nil
			next := s.reaper("survivor", s.conn)
			for range 10 {
				if s.buried() {
					break
				}
				s.ok(next.examine(t.Context(), silent))
				time.Sleep(beatWatchful)
			}
			if !s.buried() {
				t.Errorf("after %d commands: nobody takes over", commands)
			}
			s.check()
		})
		if t.Failed() || alive {
			t.Logf("a reaper that nobody kills sends fewer than %d commands", commands)
			if commands < 15 {
				t.Error("that are too few to be true")
			}
			return
		}
	}
}

func TestAnyNumberOfReapersDoNoHarm(t *testing.T) {
	rdb, c := start(t)
	for round := range 20 {
		s := fill(t, rdb, c, fmt.Sprint("ns", round))
		var wg sync.WaitGroup
		var again atomic.Uint64
		for i := range 8 {
			r := s.reaper(fmt.Sprint("survivor", i), s.conn)
			wg.Go(func() {
				// No lease holds them apart here: all are sure.
				for shard := range 2 {
					for {
						got, err := r.part(t.Context(), shard, group.Death{Worker: "w", Beat: 1, Charged: true})
						if err != nil {
							t.Error(err)
							return
						}
						if got.Left == 0 {
							break
						}
					}
				}
				again.Add(r.Stats().Redelivered)
			})
		}
		wg.Wait()
		s.check()
		if n := again.Load(); n != sceneTasks+3 {
			t.Errorf("%d were delivered again, want each once: %d", n, sceneTasks+3)
		}
	}
}

func TestReadNamesTheDeadToTheReaper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "ns")
		survivors := make([]*Reaper, 3)
		stops := make([]func(), 3)
		defer func() {
			for i, stop := range stops {
				stop()
				survivors[i].Close()
			}
		}()
		for i := range survivors {
			r := s.reaper(fmt.Sprint("survivor", i), s.conn)
			survivors[i] = r
			stops[i] = run(beatOf(s.conn, s.keys, fmt.Sprint("survivor", i), func(cfg *BeatConfig) { cfg.Read = r.Read }))
			time.Sleep(300 * time.Millisecond)
		}
		began := time.Now()
		for !buriedAlone(s) {
			if time.Since(began) > 20*time.Second {
				t.Fatal("nobody finds it")
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		if took := time.Since(began); took < deadAfter {
			t.Errorf("buried after %s", took)
		}
		dead := uint64(0)
		for _, r := range survivors {
			dead += r.Stats().Dead
		}
		if dead != 1 {
			t.Errorf("declared dead by %d at once", dead)
		}
		s.check()
	})
}

// buriedAlone reports whether w is gone, and nobody else.
func buriedAlone(s *scene) bool {
	return s.rdb.Exists(s.t.Context(), s.keys.Worker("w")).Val() == 0
}

func TestDecision03_WhatAWorkerDoesNotKnowThatItHoldsIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, "ns")
		held := map[string]struct{}{"t0": {}, "x|g|1": {}}
		h := NewHoldings(HoldingsConfig{
			ID: "w", Shards: 2, Recorded: s.groups.Holdings, Held: func() map[string]struct{} { return held },
			Reaper: s.reaper("w", s.conn), Log: slog.New(slog.DiscardHandler),
		})
		number := func(id string) int64 {
			in, err := s.records.Look(t.Context(), id)
			s.ok(err)
			return in.Number
		}
		for shard := range 2 {
			s.ok(h.look(t.Context(), shard))
		}
		if number("t1") != 1 || number("t2") != 1 {
			t.Error("given back at the first look: it may be on its way")
		}
		held["t2"] = struct{}{} // it was
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { h.Run(ctx); close(ended) }()
		time.Sleep(holdingsEvery + time.Second)
		stop()
		<-ended
		for id, want := range map[string]int64{"t0": 1, "t1": 2, "t2": 1} {
			if n := number(id); n != want {
				t.Errorf("%s has number %d, want %d", id, n, want)
			}
		}
		in, err := s.records.Look(t.Context(), "t1")
		s.ok(err)
		if in.State != record.Pending || in.Crashes != 0 || !in.Marked {
			t.Errorf("%+v", in)
		}
		if f := s.rdb.HGet(t.Context(), s.keys.Record("g"), "t0").Val(); f == "1;w;n;1;1" {
			t.Errorf("the ticket is still there: %q", f)
		}
	})
}
