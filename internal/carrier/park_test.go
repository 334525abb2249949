package carrier

import (
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// A parked worker is woken by the bell, not by looking.
func TestDecision41_TheBellWakes(t *testing.T) {
	for _, queues := range []map[string]int{{"q": 1}, {"q": 1, "r": 1}} {
		t.Run(fmt.Sprint(len(queues)), func(t *testing.T) {
			onEach(t, func(t *testing.T, dial func() *redis.Client) {
				rdb, log, slots := dial(), &sent{}, slotsOf(1)
				c, box := carrierOf(rdb), inboxOf(slots)
				// It would wait for ten seconds.
				rdb.Options().ReadTimeout = 0
				rdb.AddHook(log)
				serve(t, c, ServeConfig{Queues: queues, Slots: slots, Handle: box.handle}, func(s *Server) { s.gate.wait = parkLimit })
				for i := range 5 {
					eventually(t, "parked", isParked(t, rdb, c.keys, "q"))
					hs := tasks("q", 1)
					hs[0].Delivery.Refs[0].ID = fmt.Sprint(i)
					log.take()
					if err := carrierOf(dial()).Enqueue(t.Context(), hs); err != nil {
						t.Fatal(err)
					}
					eventually(t, "handled", func() bool { return box.len() == i+1 })
					pipes := log.take()
					if len(pipes) == 0 || pipes[0][1].Name() != "blpop" || pipes[0][1].Err() != nil {
						t.Fatalf("the delivery came without the bell: %v", pipes)
					}
					if with := len(pipes[0]) == 3; with != (len(queues) == 1) {
						t.Errorf("the dequeue waited behind the bell: %v, with %d queues", with, len(queues))
					}
				}
			})
		})
	}
}

// With waits of ten seconds, every bell that wakes the wrong worker or nobody shows: several workers with one slot each, and
// always no more work than free slots.
func TestNoWorkWaitsBesideAnIdleWorker(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		const workers = 3
		free, begun := make(chan struct{}), make(chan struct{}, workers)
		queues := []map[string]int{{"q": 1}, {"q": 1}, {"q": 1, "r": 1}}
		for i := range workers {
			rdb, slots := dial(), slotsOf(1)
			rdb.Options().ReadTimeout = 0
			serve(t, carrierOf(rdb), ServeConfig{Queues: queues[i], Slots: slots, Handle: func(string, []byte) error {
				begun <- struct{}{}
				go func() {
					<-free
					slots.Release()
				}()
				return nil
			}}, func(s *Server) { s.gate.wait = parkLimit })
		}
		producer := carrierOf(dial())
		for round := range 150 {
			n := 1 + round%workers
			late := time.Now().Add(parkLimit / 2)
			for range n {
				if err := producer.Enqueue(t.Context(), tasks("q", 1)); err != nil {
					t.Fatal(err)
				}
			}
			for i := range n {
				select {
				case <-begun:
				case <-time.After(time.Until(late)):
					t.Fatalf("round %d: %d of %d deliveries wait beside idle workers", round, n-i, n)
				}
			}
			for range n {
				free <- struct{}{}
			}
		}
	})
}

// Work of which no bell tells starts at the end of a wait: enqueued by asynq's own tools, or resumed.
func TestDecision41_ForeignEnqueueIsSeen(t *testing.T) {
	for _, queues := range []map[string]int{{"q": 1}, {"q": 1, "r": 1}} {
		t.Run(fmt.Sprint(len(queues)), func(t *testing.T) {
			onEach(t, func(t *testing.T, dial func() *redis.Client) {
				rdb, slots := dial(), slotsOf(1)
				c, box := carrierOf(rdb), inboxOf(slots)
				serve(t, c, ServeConfig{Queues: queues, Slots: slots, Handle: box.handle}, func(s *Server) { s.gate.wait = min(s.gate.wait, longestWait) })
				eventually(t, "parked", isParked(t, rdb, c.keys, "q"))
				begin := time.Now()
				if _, err := asynq.NewClientFromRedisClient(dial()).Enqueue(asynq.NewTask(TaskType, tasks("q", 1)[0].Delivery.Encode()), asynq.Queue("n:q")); err != nil {
					t.Fatal(err)
				}
				eventually(t, "handled", func() bool { return box.len() == 1 })
				if d := time.Since(begin); d > 2*time.Second {
					t.Errorf("it was seen after %v", d)
				}

				inspector := asynq.NewInspectorFromRedisClient(dial())
				if err := inspector.PauseQueue("n:q"); err != nil {
					t.Fatal(err)
				}
				paused := tasks("q", 2)[1:]
				if err := c.Enqueue(t.Context(), paused); err != nil {
					t.Fatal(err)
				}
				// The bell rang; once the gate is parked again it has looked.
				eventually(t, "parked again", isParked(t, rdb, c.keys, "q"))
				if n := box.len(); n != 1 {
					t.Error("a paused queue was served")
				}
				if err := inspector.UnpauseQueue("n:q"); err != nil {
					t.Fatal(err)
				}
				eventually(t, "handled after the pause", func() bool { return box.len() == 2 })
			})
		})
	}
}

// What a gate sends while it rests: its names once where somebody else looks, else with every wait; and after a ring no question
// whose answer is known.
func TestWhatAParkedGateSends(t *testing.T) {
	for _, tended := range []bool{false, true} {
		t.Run(fmt.Sprint("tended ", tended), func(t *testing.T) {
			onEach(t, func(t *testing.T, dial func() *redis.Client) {
				rdb, log, slots := dial(), &sent{}, slotsOf(1)
				c, box := carrierOf(rdb), inboxOf(slots)
				s := serve(t, c, ServeConfig{Queues: map[string]int{"q": 1}, Slots: slots, Handle: box.handle, Tended: tended}, func(s *Server) {
					s.gate.wait = 100 * time.Millisecond
					bells, ok := s.gate.bells.(*redis.Client)
					if !ok {
						t.Fatalf("it waits with a %T", s.gate.bells)
					}
					bells.AddHook(log)
				})
				var pipes [][]redis.Cmder
				waits := func(n int) {
					t.Helper()
					pipes = nil
					eventually(t, "some waits", func() bool { pipes = append(pipes, log.take()...); return len(pipes) >= n })
				}
				waits(4)
				for i, pipe := range pipes {
					if told := len(pipe) == 3; told != (i == 0 || !tended) {
						t.Errorf("wait %d sent %q", i, names(pipe))
					}
				}
				producer := carrierOf(dial())
				for _, queue := range []string{"other", "q"} { // the first makes the scripts known, so that the second rings once
					if err := producer.Enqueue(t.Context(), tasks(queue, 1)); err != nil {
						t.Fatal(err)
					}
				}
				eventually(t, "handled", func() bool { return box.len() == 1 })
				waits(3)
				told := 0
				for _, pipe := range pipes {
					if len(pipe) == 3 {
						told++
					}
				}
				if tended && told != 1 {
					t.Errorf("it told its names %d times after a ring", told)
				}
				if look := s.Look(); look.Parked != s.gate.parked.Load() || look.Step != 4 || len(look.Keys) != 5 || look.Args[0] != s.gate.own+":1" {
					t.Errorf("to look for: %+v", look)
				}
			})
		})
	}
}

func TestWaiting(t *testing.T) {
	onEach(t, func(t *testing.T, dial func() *redis.Client) {
		rdb := dial()
		c := carrierOf(rdb)
		waiting := func(s *Server) bool {
			t.Helper()
			deliveries, workers, err := s.Waiting(t.Context(), "q")
			if err != nil {
				t.Fatal(err)
			}
			if deliveries > 0 && workers > 0 || workers > 1 {
				t.Errorf("both wait: %d deliveries, %d workers", deliveries, workers)
			}
			return deliveries+workers > 0
		}
		if err := c.Enqueue(t.Context(), tasks("q", 1)); err != nil {
			t.Fatal(err)
		}
		busy, idle := slotsOf(1), slotsOf(1)
		_ = busy.Acquire(t.Context())
		a := serve(t, c, ServeConfig{Queues: map[string]int{"q": 1}, Slots: busy, Handle: inboxOf(busy).handle})
		if !waiting(a) {
			t.Error("a delivery waits")
		}
		box := inboxOf(idle)
		b := serve(t, carrierOf(dial()), ServeConfig{Queues: map[string]int{"q": 1}, Slots: idle, Handle: box.handle})
		eventually(t, "the other worker is idle", func() bool { return box.len() == 1 && isParked(t, rdb, c.keys, "q")() })
		eventually(t, "the other worker waits", func() bool { return waiting(a) })
		if waiting(b) {
			t.Error("nobody but this worker waits")
		}
		idle.onLoan(true)
		eventually(t, "the other worker has no slot free", func() bool { return !waiting(a) })
		if err := c.Enqueue(t.Context(), tasks("q", 2)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a ring wakes it all the same, and it waits again", func() bool { return box.len() == 2 && isParked(t, rdb, c.keys, "q")() })
		if waiting(a) {
			t.Error("the other worker has no slot free, after a ring neither")
		}
		idle.onLoan(false)
		eventually(t, "the other worker has its slot back", func() bool { return waiting(a) })
		rdb.Set(t.Context(), "asynq:{n:q}:pending", "no list", 0)
		if _, _, err := a.Waiting(t.Context(), "q"); err == nil {
			t.Error("no error")
		}
	})
}
