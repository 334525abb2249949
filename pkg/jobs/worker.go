package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/gatherq/gatherq/internal/names"
	"github.com/gatherq/gatherq/internal/record"
	"github.com/gatherq/gatherq/internal/worker"
)

// Bounds and defaults of a worker's config.
const (
	slotsPerCore           = 8
	maxConcurrency         = 100_000
	defaultDrain           = 25 * time.Second
	defaultUnknownTypeWait = 10 * time.Minute
)

// WorkerConfig configures a Worker. The zero value works.
type WorkerConfig struct {
	// Concurrency is how many handlers run at once, at most 100,000. Defaults to 8 × cores.
	Concurrency int

	// Queues maps each queue to its weight, from 1: its share when several have work. Defaults to {"default": 1}.
	Queues map[string]int

	// Strict empties a heavier queue first. Defaults to false.
	Strict bool

	// Drain is how long Run lets running handlers finish before it gives their tasks back. Defaults to 25 s: a pod's grace is
	// 30 s.
	Drain time.Duration

	// UnknownTypeWait is how long a task whose type no worker of its queue knows is handed back, before it ends with
	// ErrUnknownType. It counts from the first hand-back, and only while such workers live. Defaults to 10 min.
	UnknownTypeWait time.Duration

	// Asynq serves plain asynq tasks in the same process. Defaults to none.
	Asynq AsynqTasks

	// Middleware is around every handler of this package, the first is outermost.
	Middleware []Middleware
}

// AsynqTasks are the plain asynq tasks that a team has already. They run under asynq's own rules (retries, time-outs,
// retention) beside the tasks of this package, never mixed with them.
type AsynqTasks struct {
	Handler     asynq.Handler  // say an *asynq.ServeMux. Nil: none
	Queues      map[string]int // asynq's own queue names and weights, without a namespace. Defaults to {"default": 1}.
	Concurrency int            // Defaults to asynq's.
}

func (cfg WorkerConfig) withDefaults() WorkerConfig {
	cfg.Concurrency = cmp.Or(cfg.Concurrency, slotsPerCore*runtime.GOMAXPROCS(0))
	cfg.Drain = cmp.Or(cfg.Drain, defaultDrain)
	cfg.UnknownTypeWait = cmp.Or(cfg.UnknownTypeWait, defaultUnknownTypeWait)
	cfg.Queues, cfg.Asynq.Queues = maps.Clone(cfg.Queues), maps.Clone(cfg.Asynq.Queues)
	if len(cfg.Queues) == 0 {
		cfg.Queues = map[string]int{names.DefaultQueue: 1}
	}
	if cfg.Asynq.Handler != nil && len(cfg.Asynq.Queues) == 0 {
		cfg.Asynq.Queues = map[string]int{"default": 1}
	}
	cfg.Middleware = slices.Clone(cfg.Middleware)
	return cfg
}

func (cfg WorkerConfig) validate(namespace string) *RejectedError {
	if r := between("concurrency", cfg.Concurrency, 1, maxConcurrency); r != nil {
		return r
	}
	for _, q := range slices.Sorted(maps.Keys(cfg.Queues)) {
		if r := checkQueue(q); r != nil {
			return r
		}
		if cfg.Queues[q] < 1 {
			return rejected("queues", fmt.Sprintf("weight %d of %s, must be at least 1", cfg.Queues[q], q))
		}
	}
	if cfg.Drain < 0 {
		return rejected("drain", fmt.Sprintf("%s, must not be negative", cfg.Drain))
	}
	if cfg.UnknownTypeWait < 0 {
		return rejected("unknown-type-wait", fmt.Sprintf("%s, must not be negative", cfg.UnknownTypeWait))
	}
	if slices.ContainsFunc(cfg.Middleware, func(m Middleware) bool { return m == nil }) {
		return rejected("middleware", "nil")
	}
	return cfg.Asynq.validate(namespace)
}

func (a AsynqTasks) validate(namespace string) *RejectedError {
	switch {
	case a.Handler == nil && (len(a.Queues) > 0 || a.Concurrency != 0):
		return rejected("asynq", "queues or a concurrency without a handler")
	case a.Concurrency < 0:
		return rejected("asynq", fmt.Sprintf("concurrency %d, must not be negative", a.Concurrency))
	}
	for _, q := range slices.Sorted(maps.Keys(a.Queues)) {
		switch {
		case strings.TrimSpace(q) == "" || len(q) > maxAsynqQueue:
			return rejected("asynq", fmt.Sprintf("a queue's name of %d bytes, must have 1 to %d and not be blank", len(q), maxAsynqQueue))
		case strings.HasPrefix(q, namespace+":"):
			return rejected("asynq", fmt.Sprintf("queue %q belongs to namespace %s", q, namespace))
		case a.Queues[q] < 1:
			return rejected("asynq", fmt.Sprintf("weight %d of queue %q, must be at least 1", a.Queues[q], q))
		}
	}
	return nil
}

const maxAsynqQueue = 256

// Worker runs tasks, and takes its part in what keeps the fleet whole: it beats, and it starts what is due. It is built
// over a Client, which gives it Redis, namespace and logger, and must stay open while Run works. It is safe for
// concurrent use.
type Worker struct {
	client *Client
	cfg    WorkerConfig
	slots  *worker.Slots
	ready  chan struct{}

	abort     chan struct{}
	abortOnce sync.Once

	mu       sync.Mutex
	handlers map[string]worker.Handler
	errs     []error // of Handle
	began    bool
	service  *service // since Run
}

// NewWorker returns a worker that Run starts. It does no I/O; the error is a *RejectedError about c or cfg.
func NewWorker(c *Client, cfg WorkerConfig) (*Worker, error) {
	if err := c.usable(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	if r := cfg.validate(c.cfg.Namespace); r != nil {
		return nil, r
	}
	return &Worker{
		client: c, cfg: cfg, slots: worker.NewSlots(cfg.Concurrency), ready: make(chan struct{}), abort: make(chan struct{}),
		handlers: make(map[string]worker.Handler),
	}, nil
}

// Handle registers the handler of a type, before Run; mw wraps this type only, inside WorkerConfig.Middleware. A bad
// definition, a second handler for a type or a call after Run is the error of Run.
//
// What fn returns is the outcome, also after a cancel: nil is the value; ErrCancelled (its own, or an awaited task's let
// through) and, after a cancel, context.Canceled are cancelled; another error after a cancel is failed. None of these is
// retried. Any other error fails the attempt; context.Canceled without a cancel is one. What fn returns after ErrDraining
// or ErrFenced ended its context does not count: the task is delivered again.
//
// The end of ctx is always a context.Canceled; context.Cause tells why: an error that is ErrCancelled, ErrTimedOut,
// ErrDeadline, ErrDraining or ErrFenced.
func Handle[A, R any](w *Worker, def Definition[A, R], fn func(ctx context.Context, args A) (R, error), mw ...Middleware) {
	if w == nil {
		return // NewWorker's error was not looked at; Run says so
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	fail := func(err error) { w.errs = append(w.errs, fmt.Errorf("handler of %q: %w", def.Name(), err)) }
	if err := def.Err(); err != nil {
		fail(err)
		return
	}
	switch {
	case fn == nil:
		fail(rejected("handler", "nil"))
	case slices.ContainsFunc(mw, func(m Middleware) bool { return m == nil }):
		fail(rejected("middleware", "nil"))
	case w.began:
		fail(rejected("handler", "registered after Run"))
	case w.handlers[def.Name()] != nil:
		fail(rejected("handler", "a second one for the type"))
	default:
		w.handlers[def.Name()] = handlerOf(w.client, fn, slices.Concat(w.cfg.Middleware, mw))
	}
}

// Run works until ctx ends, then drains: it takes nothing new and lets running handlers go on for Drain; then their contexts
// end with ErrDraining and their tasks go back to the queue, nothing charged. It returns nil after a full drain.
//
// Before it takes anything it checks Redis as Client.Check does, and returns what that refuses, what Handle found wrong, or
// that Redis cannot be reached. It can be called once.
func (w *Worker) Run(ctx context.Context) error {
	if w == nil {
		return rejected("worker", "nil: make one with NewWorker")
	}
	w.mu.Lock()
	again, errs := w.began, errors.Join(w.errs...)
	w.began = true
	w.mu.Unlock()
	if again {
		return rejected("worker", "Run was called before")
	}
	if errs != nil {
		return errs
	}
	if err := w.work(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return errors.Join(w.errs...) // of calls of Handle that came too late
}

// Ready is closed when Run has begun to take tasks.
func (w *Worker) Ready() <-chan struct{} { return w.ready }

// Abort gives everything back at once and makes Run return with an error that says how much that was, whether or not its
// context has ended: the second signal. Handlers that ignore the end of their context run on; what they return does not count.
func (w *Worker) Abort() { w.abortOnce.Do(func() { close(w.abort) }) }

// Stats returns slots and counters since the start.
func (w *Worker) Stats() WorkerStats {
	w.mu.Lock()
	running := w.service
	w.mu.Unlock()
	if running == nil {
		return WorkerStats{Slots: w.slots.Size()}
	}
	s, r := running.exec.Stats(), running.reaper.Stats()
	return WorkerStats{
		Slots: s.Slots, Running: s.Running, Stuck: s.Stuck,
		Started: s.Started, Succeeded: s.Ended[record.Succeeded], Failed: s.Ended[record.Failed] + s.Ended[record.TimedOut],
		Cancelled: s.Ended[record.Cancelled], Fenced: s.Fenced,
		Dead: r.Dead, Redelivered: r.Redelivered, CrashLoops: r.CrashLoops,
		NotDurable: running.engine.Conn().Stats().Short,
	}
}

// WorkerStats is a snapshot of a Worker. Slots and Running count handlers; Stuck are those of the running ones whose task was
// settled or given back without them, because they ignore the end of their context: their slots stay taken. Started counts
// deliveries; the others their ends: Failed those that are final, Fenced those that did not count because the task
// was in other hands. Dead, Redelivered and CrashLoops count what this worker did for all: workers that it found dead, tasks,
// members and tickets that it took from them, or that the records said it held itself and it did not know of, to be
// delivered again, and tasks that it ended with ErrCrashLoop. NotDurable counts outcomes that fell short of ClientConfig.Durability; they
// were told all the same.
type WorkerStats struct {
	Slots, Running, Stuck                         int
	Started, Succeeded, Failed, Cancelled, Fenced uint64
	Dead, Redelivered, CrashLoops                 uint64
	NotDurable                                    uint64
}
