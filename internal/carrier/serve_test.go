package carrier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/internal/record"
)

func TestServeTakesEachOnce(t *testing.T) {
	for _, queues := range []map[string]int{{"a": 1}, {"a": 3, "b": 1, "c": 1}} {
		for _, strict := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d queues, strict %v", len(queues), strict), func(t *testing.T) {
				onEach(t, func(t *testing.T, dial func() *redis.Client) {
					producer, slots := carrierOf(dial()), slotsOf(4)
					box, want := inboxOf(slots), 0
					servers := []*Server{}
					for range 2 {
						servers = append(servers, serve(t, carrierOf(dial()), ServeConfig{Queues: queues, Strict: strict, Slots: slots, Handle: box.handle}))
					}
					for q := range queues {
						for _, n := range []int{1, 100} {
							want += n
							hs := tasks(q, n)
							for i := range hs {
								hs[i].Delivery.Refs[0].ID += fmt.Sprint("/", n)
							}
							if err := producer.Enqueue(t.Context(), hs); err != nil {
								t.Fatal(err)
							}
						}
					}
					eventually(t, "all handled", func() bool { return box.len() == want })
					for _, s := range servers {
						s.Drain()
					}
					if d := box.doubles(); len(d) > 0 {
						t.Errorf("twice: %v", d)
					}
					if n := slots.taken(); n != 0 {
						t.Errorf("%d slots are still taken", n)
					}
					rdb := producer.conn.Redis()
					for q := range queues {
						for _, key := range []string{"pending", "active", "lease"} {
							if n := rdb.Exists(t.Context(), "asynq:{n:"+q+"}:"+key).Val(); n != 0 {
								t.Errorf("%s of %s is left", key, q)
							}
						}
					}
				})
			})
		}
	}
}

func TestServeConfig(t *testing.T) {
	c := carrierOf(unreachable(t))
	good := func() ServeConfig {
		return ServeConfig{Queues: map[string]int{"q": 1}, Slots: slotsOf(1), Handle: func(string, []byte) error { return nil }}
	}
	for name, spoil := range map[string]func(*ServeConfig){
		"queues":  func(c *ServeConfig) { c.Queues = nil },
		"weight":  func(c *ServeConfig) { c.Queues = map[string]int{"q": 0} },
		"slots":   func(c *ServeConfig) { c.Slots = nil },
		"handler": func(c *ServeConfig) { c.Handle = nil },
	} {
		cfg := good()
		spoil(&cfg)
		if _, err := c.Serve(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, queues := range map[string]map[string]int{"no queues": {}, "without a name": {" ": 1}, "weight 0": {"q": 0}, "gatherq's own": {"n:q": 1}} {
		if _, err := c.ServePlain(asynq.NewServeMux(), queues, 1, nil); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("plain, %s: %v", name, err)
		}
	}
	if _, err := c.ServePlain(nil, map[string]int{"q": 1}, 1, nil); err == nil {
		t.Error("plain, without a handler: no error")
	}
}

func TestDecision41_NoSlotNoDequeue(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb, slots := dial(), slotsOf(2)
		c := carrierOf(rdb)
		held := make(chan string, 10)
		serve(t, c, ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: func(_ string, payload []byte) error {
			d, _ := record.DecodeDelivery(payload)
			held <- d.Refs[0].ID // and its slot with it
			return nil
		}})
		if err := c.Enqueue(t.Context(), tasks("q", 5)); err != nil {
			t.Fatal(err)
		}
		for want := int64(3); want > 0; want-- {
			eventually(t, "the gate waits for a slot", func() bool { return slots.blocked() == 1 })
			if n := rdb.LLen(t.Context(), "asynq:{n:q}:pending").Val(); n != want {
				t.Errorf("%d are left, want %d: it took without a slot", n, want)
			}
			slots.Release()
			eventually(t, "one more taken", func() bool { return int64(len(held)) == 6-want })
		}
	})
}

// What never reaches Handle, or does not come back from it, keeps no slot.
func TestNoSlotIsLost(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb, slots := dial(), slotsOf(1)
		c, box := carrierOf(rdb), inboxOf(slots)
		var panics atomic.Int32
		serve(t, c, ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: func(queue string, payload []byte) error {
			if bytes.Contains(payload, []byte("poison")) {
				panics.Add(1)
				panic("poison")
			}
			return box.handle(queue, payload)
		}})
		client := asynq.NewClientFromRedisClient(dial())
		enqueue := func(task *asynq.Task, opts ...asynq.Option) {
			t.Helper()
			if _, err := client.Enqueue(task, append(opts, asynq.Queue("n:q"))...); err != nil {
				t.Fatal(err)
			}
		}
		garbage := func(id, msg string) {
			rdb.HSet(t.Context(), "asynq:{n:q}:t:"+id, "msg", msg)
			rdb.LPush(t.Context(), "asynq:{n:q}:pending", id)
		}
		garbage("g1", "no message")
		garbage("g2", "")
		garbage("g3", "\x1a\x01\xff")
		rdb.LPush(t.Context(), "asynq:{n:q}:pending", "no record of asynq's")
		enqueue(asynq.NewTask("email:send", nil), asynq.TaskID("foreign"))
		enqueue(asynq.NewTask(TaskType, []byte("late")), asynq.Deadline(time.Now().Add(-time.Hour)))
		poison := record.HandOver{Queue: "q", Delivery: record.Delivery{Refs: []record.Ref{{ID: "poison", Number: 1}}}}
		if err := c.Enqueue(t.Context(), append([]record.HandOver{poison}, tasks("q", 3)...)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the good ones handled", func() bool { return box.len() == 3 })
		eventually(t, "the slot is free or with the parked gate", isParked(t, rdb, c.keys, "q"))
		if panics.Load() != 1 {
			t.Errorf("%d panics", panics.Load())
		}
		eventually(t, "the foreign one is archived, poison and the late one come again", func() bool {
			archived := rdb.ZRange(t.Context(), "asynq:{n:q}:archived", 0, -1).Val()
			return slices.Equal(archived, []string{"foreign"}) && rdb.ZCard(t.Context(), "asynq:{n:q}:retry").Val() == 2
		})
		if n := box.len(); n != 3 {
			t.Errorf("%d handled", n)
		}
	})
}

// A message whose handling failed comes again for as long as it fails, never archived, and its slot is the handler's own.
func TestWhatIsRefusedComesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := embedded.Start("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		rdb := redis.NewClient(r.Options())
		defer rdb.Close()
		slots := slotsOf(1)
		c, tries, taken := carrierOf(rdb), 0, make(chan struct{})
		s, err := c.Serve(ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Log: quiet, Handle: func(string, []byte) error {
			slots.Release()
			if tries++; tries < 40 {
				return errors.New("not now")
			}
			close(taken)
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		if err := c.Enqueue(t.Context(), tasks("q", 1)); err != nil {
			t.Fatal(err)
		}
		<-taken
		if d := time.Since(begin); d < 39*time.Second || d > 39*2*tidyInterval {
			t.Errorf("40 tries took %v", d)
		}
		s.Drain()
		if n := slots.taken(); n != 0 {
			t.Errorf("%d slots are taken", n)
		}
		for _, set := range []string{"pending", "active", "retry", "archived"} {
			if n := rdb.Exists(t.Context(), "asynq:{n:q}:"+set).Val(); n != 0 {
				t.Errorf("something is left in %s", set)
			}
		}
	})
}

// The contract with asynq's server: a dequeue is a script with four keys, the pending list first. When recognition fails, the
// server polls and takes slots in the handler.
func TestContractAsynqServerDequeue(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		for _, blind := range []bool{false, true} {
			slots := slotsOf(2)
			c, box := carrierOf(dial()), inboxOf(slots)
			s := serve(t, c, ServeConfig{Queues: map[string]int{"q": 1, "r": 2}, Slots: slots, Handle: box.handle}, func(s *Server) {
				if blind {
					s.gate.recognise = func([]string) (string, bool) { return "", false }
				}
			})
			if !blind {
				eventually(t, "parked", isParked(t, c.conn.Redis(), c.keys, "r"))
			}
			if err := c.Enqueue(t.Context(), append(tasks("q", 20), tasks("r", 20)...)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "all handled", func() bool { return box.len() == 40 })
			s.Drain()
			if d := box.doubles(); len(d) > 0 || slots.taken() != 0 {
				t.Errorf("blind %v: twice %v, %d slots taken", blind, d, slots.taken())
			}
			if s.gate.recognised.Load() == blind {
				t.Errorf("blind %v: asynq's dequeue was recognised: %v", blind, !blind)
			}
		}
	})
}

func TestDecision43_NeighboursEatNothing(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		neighbour := asynq.NewServerFromRedisClient(dial(), asynq.Config{
			Queues: map[string]int{"default": 1}, TaskCheckInterval: time.Millisecond, Logger: logger{quiet}, LogLevel: asynq.FatalLevel,
		})
		if err := neighbour.Start(asynq.NewServeMux()); err != nil {
			t.Fatal(err)
		}
		defer neighbour.Shutdown()
		slots := slotsOf(4)
		c, box := carrierOf(dial()), inboxOf(slots)
		serve(t, c, ServeConfig{Queues: map[string]int{"default": 1}, Slots: slots, Handle: box.handle})

		plain := make(chan string, 1)
		stop, err := c.ServePlain(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
			plain <- task.Type()
			return nil
		}), map[string]int{"mail": 1}, 2, quiet)
		if err != nil {
			t.Fatal(err)
		}
		defer stop()
		if err := c.Enqueue(t.Context(), tasks("default", 50)); err != nil {
			t.Fatal(err)
		}
		if _, err := asynq.NewClientFromRedisClient(dial()).Enqueue(asynq.NewTask("email:send", nil), asynq.Queue("mail")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "all handled", func() bool { return box.len() == 50 })
		if typ := <-plain; typ != "email:send" {
			t.Errorf("the plain handler got %q", typ)
		}
		stop()
	})
}

func TestLoggerDoesNotExit(t *testing.T) {
	var out bytes.Buffer
	l := logger{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	l.Debug("a", 1)
	l.Info("b")
	l.Warn("c")
	l.Error("d")
	l.Fatal("e")
	for _, want := range []string{`level=DEBUG msg="asynq: a1"`, `level=DEBUG msg="asynq: b"`, `level=WARN msg="asynq: c"`, `level=WARN msg="asynq: d"`, `level=ERROR msg="asynq: e"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in\n%s", want, &out)
		}
	}
	if asynqLevel(l.to) != asynq.InfoLevel || asynqLevel(slog.New(slog.DiscardHandler)) != asynq.WarnLevel {
		t.Error("levels")
	}
}

// All of it on the clock of a bubble: hours pass in seconds, and a task that comes after them is taken.
func TestServeInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := embedded.Start("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		rdb := redis.NewClient(r.Options())
		defer rdb.Close()
		slots := slotsOf(1)
		c, got := carrierOf(rdb), make(chan string)
		s, err := c.Serve(ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Log: quiet, Handle: func(queue string, _ []byte) error {
			slots.Release()
			got <- queue
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(20 * time.Minute)
			begin := time.Now()
			if err := c.Enqueue(t.Context(), tasks("q", 1)); err != nil {
				t.Fatal(err)
			}
			<-got
			if d := time.Since(begin); d != 0 {
				t.Errorf("it was taken after %v: not by the bell", d)
			}
		}
		s.Drain()
	})
}
