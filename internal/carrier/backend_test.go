package carrier

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

var quiet = slog.New(slog.DiscardHandler)

// onEach runs a test on the embedded Redis and on an installed one. dial makes further clients.
func onEach(t *testing.T, test func(t *testing.T, dial func() *redis.Client)) {
	t.Run("embedded", func(t *testing.T) {
		r, err := embedded.Start("")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Close)
		test(t, func() *redis.Client {
			c := redis.NewClient(r.Options())
			t.Cleanup(func() { c.Close() })
			return c
		})
	})
	t.Run("redis-server", func(t *testing.T) {
		s := redistest.Local(t)
		test(t, func() *redis.Client { return s.Client(t) })
	})
}

// carrierOf returns a carrier of namespace n.
func carrierOf(rdb redis.UniversalClient) *Carrier {
	return New(conn.New(rdb, quiet), keys.New("n", 1), nobody)
}

// tasks are hand-overs of count tasks to a queue.
func tasks(queue string, count int) []record.HandOver {
	hs := make([]record.HandOver, count)
	for i := range hs {
		hs[i] = record.HandOver{Queue: queue, Delivery: record.Delivery{Refs: []record.Ref{{ID: fmt.Sprintf("%s-%d", queue, i), Number: 1}}}}
	}
	return hs
}

// eventually waits for a condition that other goroutines bring about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}

// counter is Slots that can be looked at.
type counter struct {
	tokens  chan struct{}
	mu      sync.Mutex
	waiting int
	onLoan  func(bool)
}

func slotsOf(n int) *counter { return &counter{tokens: make(chan struct{}, n)} }

func (c *counter) Acquire(ctx context.Context) error {
	select {
	case c.tokens <- struct{}{}:
		return nil
	default:
	}
	c.mu.Lock()
	c.waiting++
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.waiting--
		c.mu.Unlock()
	}()
	select {
	case c.tokens <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *counter) TryAcquire() bool {
	select {
	case c.tokens <- struct{}{}:
		return true
	default:
		return false
	}
}

func (c *counter) Release() {
	select {
	case <-c.tokens:
	default:
		panic("a slot too many released")
	}
}

func (c *counter) OnLoan(tell func(bool)) { c.onLoan = tell }

func (c *counter) taken() int { return len(c.tokens) }

func (c *counter) blocked() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waiting
}

// inbox collects what a server hands to its handler, and releases the slots.
type inbox struct {
	slots *counter
	mu    sync.Mutex
	got   map[string]int // queue/ID
}

func inboxOf(s *counter) *inbox { return &inbox{slots: s, got: make(map[string]int)} }

func (b *inbox) handle(queue string, payload []byte) error {
	d, err := record.DecodeDelivery(payload)
	if err == nil {
		b.mu.Lock()
		for _, r := range d.Refs {
			b.got[queue+"/"+r.ID]++
		}
		b.mu.Unlock()
	}
	b.slots.Release()
	return nil
}

func (b *inbox) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.got)
}

func (b *inbox) doubles() (ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, n := range b.got {
		if n > 1 {
			ids = append(ids, id)
		}
	}
	return ids
}

// serve starts a server that ends with the test.
func serve(t *testing.T, c *Carrier, cfg ServeConfig, change ...func(*Server)) *Server {
	t.Helper()
	if cfg.Log == nil {
		cfg.Log = quiet
	}
	s, err := c.newServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(s)
	}
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Drain)
	return s
}

// isParked reports whether somebody waits for a queue's bell.
func isParked(t *testing.T, rdb redis.UniversalClient, k keys.Space, queue string) func() bool {
	return func() bool { return rdb.ZCard(t.Context(), k.Parked(queue)).Val() > 0 }
}

// sent records the pipelines that a client sent, with their answers.
type sent struct {
	mu    sync.Mutex
	pipes [][]redis.Cmder
}

func (s *sent) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (s *sent) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (s *sent) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.pipes = append(s.pipes, cmds)
		return err
	}
}

// take returns the pipelines since the last take, those of go-redis' own greeting left out.
func (s *sent) take() (pipes [][]redis.Cmder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pipes {
		if name := p[0].Name(); name != "hello" && name != "client" {
			pipes = append(pipes, p)
		}
	}
	s.pipes = nil
	return pipes
}

func names(pipe []redis.Cmder) string {
	var ns []string
	for _, c := range pipe {
		ns = append(ns, c.Name())
	}
	return strings.Join(ns, " ")
}

// nobody is a crew for which nothing shares a delivery.
func nobody(string) Crew { return Crew{Workers: 1, Slots: 1} }
