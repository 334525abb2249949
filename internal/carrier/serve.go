package carrier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
)

// Slots bounds what runs at a time.
type Slots interface {
	// Acquire waits for a slot until ctx ends; with an error it took none.
	Acquire(ctx context.Context) error
	// TryAcquire takes a slot that is free now.
	TryAcquire() bool
	// Release gives one back.
	Release()
	// OnLoan makes tell hear whenever others begin to use the slots that wait for a delivery, and whenever nobody does any more:
	// in order, and before the call that causes it returns: tell neither blocks nor calls back. It is called once, before all else.
	OnLoan(tell func(lent bool))
}

// ServeConfig configures Serve.
type ServeConfig struct {
	// Queues to take from, without namespace, with their weights: of two queues with work, one of weight 2 is asked first twice
	// as often as one of weight 1. At least one; weights from 1.
	Queues map[string]int

	// Strict asks a queue only when all of more weight are empty.
	Strict bool

	// Slots holds back what cannot run: no delivery is taken without one.
	Slots Slots

	// Handle gets each delivery, in a goroutine of its own and with one slot, which is its own to release from then on, whatever
	// it returns. The delivery is acknowledged when it returns nil, so it does when the record knows the holder. With an error
	// the delivery comes again, some seconds later and as often as it takes. Should it panic, that is so too and the slot is
	// released here. One that was on its way may still come while the server drains.
	Handle func(queue string, payload []byte) error

	// Tended says that the caller looks once a second for what came without a ring, see Server.Look; else the server does so by
	// itself, with more commands.
	Tended bool

	// Log defaults to slog.Default().
	Log *slog.Logger
}

// Server takes deliveries until it is drained.
type Server struct {
	cfg   ServeConfig
	gate  *gate
	asynq *asynq.Server
	drain sync.Once
}

const (
	// inFlight bounds the deliveries between dequeue and acknowledgement, which is over when they are claimed. It is no bound of
	// what runs; Slots is.
	inFlight = 512

	// abortAfter is how long the end waits for Handle: then asynq puts the delivery back, and a claim decides which one counts.
	abortAfter = 5 * time.Second

	checkInterval = time.Millisecond // of asynq, after an empty answer; the gate does the waiting
	tidyInterval  = 10 * time.Second // of asynq's own delayed set, which holds only what asynq's recoverer put there
	sweepInterval = time.Minute      // of asynq's completed tasks, which we have none of

	plainInterval = 600 * time.Millisecond // of a team's own tasks, after an empty answer; asynq waits for half as long again at most
)

// Serve starts taking deliveries and returns at once, also while Redis is away: it takes up when it is back. The error names what
// is wrong in the config.
func (c *Carrier) Serve(cfg ServeConfig) (*Server, error) {
	s, err := c.newServer(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.start(); err != nil {
		return nil, err
	}
	return s, nil
}

func (c *Carrier) newServer(cfg ServeConfig) (*Server, error) {
	if len(cfg.Queues) == 0 {
		return nil, errors.New("queues: none given")
	}
	queues := make(map[string]int, len(cfg.Queues))
	for q, weight := range cfg.Queues {
		if weight < 1 {
			return nil, fmt.Errorf("queues: weight %d of %q, must be at least 1", weight, q)
		}
		queues[c.keys.AsynqQueue(q)] = weight
	}
	if cfg.Slots == nil || cfg.Handle == nil {
		return nil, errors.New("slots and a handler must be given")
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	s := &Server{cfg: cfg, gate: newGate(c.conn, c.keys, cfg.Slots, cfg.Queues, cfg.Tended)}
	s.asynq = asynq.NewServerFromRedisClient(s.gate, asynq.Config{
		Concurrency:              inFlight,
		Queues:                   queues,
		StrictPriority:           cfg.Strict,
		TaskCheckInterval:        checkInterval,
		DelayedTaskCheckInterval: tidyInterval,
		JanitorInterval:          sweepInterval,
		ShutdownTimeout:          abortAfter,
		Logger:                   logger{cfg.Log},
		LogLevel:                 asynqLevel(cfg.Log),
		ErrorHandler:             asynq.ErrorHandlerFunc(s.failed),
		BaseContext:              s.seat,
		// What fails here is the carrying, never the task: it goes on soon and counts as nothing.
		IsFailure:      func(error) bool { return false },
		RetryDelayFunc: func(int, error, *asynq.Task) time.Duration { return time.Second },
	})
	return s, nil
}

// Failures returns how many dequeues failed since the start: each waited a moment and was asked again.
func (s *Server) Failures() uint64 { return s.gate.failed.Load() }

func (s *Server) start() error { return s.asynq.Start(asynq.HandlerFunc(s.process)) }

// seat is the slot that was set aside for a message, until its handler has it.
type seat struct{ taken atomic.Bool }

type seatKey struct{}

// seat begins the context of a message: asynq asks for it once for each that it was given.
func (s *Server) seat() context.Context {
	p := &seat{}
	p.taken.Store(!s.gate.take())
	return context.WithValue(context.Background(), seatKey{}, p)
}

// takeSeat takes over the slot that was set aside for a message; false where there is none any more.
func takeSeat(ctx context.Context) bool {
	p, ok := ctx.Value(seatKey{}).(*seat)
	return ok && p.taken.CompareAndSwap(false, true)
}

// process is asynq's handler.
func (s *Server) process(ctx context.Context, t *asynq.Task) error {
	id, _ := asynq.GetTaskID(ctx)
	if !takeSeat(ctx) && !s.gate.take() { // or one that stands for a message whose context nobody asked for
		if err := s.cfg.Slots.Acquire(s.gate.ctx); err != nil {
			return err
		}
	}
	own := true
	defer func() {
		if own {
			s.cfg.Slots.Release()
		}
	}()
	name, _ := asynq.GetQueueName(ctx)
	queue, ok := s.gate.names[name]
	if !ok || t.Type() != TaskType {
		s.cfg.Log.Warn("a task that is not gatherq's lies in a queue of gatherq's; it is archived", "queue", name, "type", t.Type(), "asynq_id", id)
		return fmt.Errorf("%w: task type %q is not gatherq's", asynq.SkipRetry, t.Type())
	}
	err := s.cfg.Handle(queue, t.Payload())
	own = false
	return err
}

// failed hears of every delivery that asynq gave up on; where it never started the handler, the slot is still set aside.
func (s *Server) failed(ctx context.Context, _ *asynq.Task, _ error) {
	if takeSeat(ctx) {
		s.cfg.Slots.Release()
	}
}

// Drain stops taking deliveries and waits until asynq has ended: until every Handle returned, at most 5 s, and some seconds more
// where Redis does not answer. What runs in slots goes on. Calls after the first wait with it.
func (s *Server) Drain() {
	s.drain.Do(func() {
		s.gate.stop() // first: asynq cannot end while the gate keeps it waiting
		s.gate.wake()
		s.asynq.Shutdown()
		s.gate.close()
	})
}

// ServePlain runs a team's ordinary asynq tasks in this process, with asynq's own rules, loops and retries: queues are asynq's
// names, which must not be of this carrier's namespace. A concurrency below 1 is asynq's default, the number of CPUs. In an idle
// queue a task waits up to 0.9 s. stop waits for running tasks, 8 s at most; then asynq puts them back. The client must not be
// closed before: asynq panics.
func (c *Carrier) ServePlain(h asynq.Handler, queues map[string]int, concurrency int, log *slog.Logger) (stop func(), err error) {
	if h == nil {
		return nil, errors.New("asynq: no handler")
	}
	if len(queues) == 0 {
		return nil, errors.New("asynq: no queues")
	}
	for q, weight := range queues {
		switch {
		case strings.TrimSpace(q) == "":
			return nil, errors.New("asynq: a queue without a name")
		case weight < 1:
			return nil, fmt.Errorf("asynq: weight %d of queue %q, must be at least 1", weight, q)
		case strings.HasPrefix(q, c.keys.AsynqQueue("")):
			return nil, fmt.Errorf("asynq: queue %q is one of gatherq's own, in namespace %q", q, c.keys.Namespace())
		}
	}
	if log == nil {
		log = slog.Default()
	}
	srv := asynq.NewServerFromRedisClient(c.conn.Redis(), asynq.Config{
		Concurrency:       concurrency,
		Queues:            queues,
		TaskCheckInterval: plainInterval,
		Logger:            logger{log},
		LogLevel:          asynqLevel(log),
	})
	if err := srv.Start(h); err != nil {
		return nil, err
	}
	return sync.OnceFunc(srv.Shutdown), nil
}
