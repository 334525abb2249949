package jobs

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/fleet"
	"github.com/gatherq/gatherq/internal/record"
	"github.com/gatherq/gatherq/internal/worker"
)

// work puts a worker's parts together, runs them, and takes them apart in the reverse order.
func (w *Worker) work(ctx context.Context) error {
	if err := w.client.Check(ctx); err != nil {
		return err
	}
	e := w.client.engine
	if err := w.client.agree(ctx); err != nil {
		return unstored("", err)
	}
	s := &service{worker: w, engine: e, id: workerID(), clock: &fleet.Clock{}}
	return s.run(ctx)
}

// workerID names a worker to records, and to people who read them. What separates fields in records is kept out.
func workerID() string {
	host, _ := os.Hostname() // the rest is unique without it
	host = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.' {
			return r
		}
		return '-'
	}, host)
	return fmt.Sprintf("%.40s-%d-%.10s", host, os.Getpid(), strings.ToLower(rand.Text()))
}

// service is a worker while it runs.
type service struct {
	worker *Worker
	engine *core.Engine
	id     string
	clock  *fleet.Clock
	exec   *worker.Worker
	server atomic.Pointer[carrier.Server]
	reaper *fleet.Reaper
	beat   *fleet.Beat

	repairs fleet.Repairs
}

func (s *service) run(ctx context.Context) error {
	w, e := s.worker, s.engine
	if err := s.clock.Ask(ctx, e.Conn()); err != nil {
		return unstored("", err)
	}
	calm := e.Conn().Private()
	_, cluster := e.Conn().Redis().(*redis.ClusterClient)
	var beat *fleet.Beat
	errands := func() fleet.Errands { return beat.Errands() }
	outbox := fleet.NewOutbox(fleet.OutboxConfig{
		Shards: e.Keys().Shards(), Deliver: e.Groups().DeliverOutbox, Late: e.Groups().DeliverLate,
		Errands: errands, Calm: calm, Repairs: &s.repairs, Log: e.Log(),
	})
	handOver := func(ctx context.Context, hs []record.HandOver) error {
		return e.Carrier().HandOver(ctx, e.Records(), hs)
	}
	promoter := fleet.NewPromoter(fleet.PromoterConfig{
		Shards: e.Keys().Shards(), Due: e.Records().Due, Clock: s.clock, Outbox: outbox, Seen: !cluster, Calm: calm,
		Repairs: &s.repairs, Log: e.Log(),
		HandOver: handOver,
		Bind:     func(ctx context.Context, id string) error { return e.Groups().Bind(ctx, id, e.Carrier()) },
		Sweep:    e.Groups().Sweep,
	})
	s.exec = worker.New(ctx, worker.Config{
		ID: s.id, Slots: w.slots, Records: e.Records(), Groups: e.Groups(), Carrier: hands{s}, Handlers: w.handlers,
		Causes: worker.Causes{
			Draining: ErrDraining, Fenced: ErrFenced, TimedOut: ErrTimedOut, Deadline: ErrDeadline,
			Cancelled: func(reason string) error { return &Error{Kind: ErrCancelled, Started: true, Message: reason} },
		},
		MaxResult: w.client.cfg.MaxResult, Drain: w.cfg.Drain, UnknownTypeWait: w.cfg.UnknownTypeWait,
		Known: func(ctx context.Context, queue, typ string) (bool, error) {
			return fleet.Known(ctx, e.Conn(), e.Keys(), queue, typ)
		},
		Outbox: func(id string) { outbox.Kick(e.Keys().Shard(id)) },
		Redis:  s.clock.At, Log: e.Log(),
	})
	s.reaper = fleet.NewReaper(fleet.ReaperConfig{
		Conn: e.Conn(), Keys: e.Keys(), ID: s.id, Reap: e.Groups().Reap, HandOver: handOver, Outbox: outbox,
		Repairs: &s.repairs, Log: e.Log(),
	})
	var reconciler *fleet.Reconciler // made before the first beat
	beat = fleet.NewBeat(fleet.BeatConfig{
		Conn: e.Conn(), Keys: e.Keys(), ID: s.id, Clock: s.clock, Calm: calm, Repairs: &s.repairs, Log: e.Log(), Ask: s.exec.Ask,
		Look: s.look, Told: promoter.Told, Read: s.reaper.Read, Return: s.reaper.Return,
		Revive: func(ctx context.Context, beat int64) error { return e.Groups().Revive(ctx, s.id, beat) },
		Rewound: func(ctx context.Context) error {
			promoter.Missed()
			return reconciler.Pass(ctx)
		},
		Queues: w.cfg.Queues, Types: slices.Collect(maps.Keys(w.handlers)),
		Status: func() fleet.Status {
			st := s.exec.Stats()
			return fleet.Status{Slots: st.Slots, Running: st.Running, Draining: s.exec.Draining()}
		},
	})
	strays := fleet.NewStrays(fleet.StraysConfig{
		Queues: slices.Collect(maps.Keys(w.cfg.Queues)), Errands: errands, Calm: calm, Repairs: &s.repairs, Log: e.Log(),
		Look: func(ctx context.Context, queue string, age time.Duration) (int, int, error) {
			return e.Carrier().Strays(ctx, queue, age, e.Records().Unclaimed)
		},
	})
	holdings := fleet.NewHoldings(fleet.HoldingsConfig{
		ID: s.id, Shards: e.Keys().Shards(), Recorded: e.Groups().Holdings, Held: s.exec.Holdings, Reaper: s.reaper, Calm: calm, Log: e.Log(),
	})
	reconciler = fleet.NewReconciler(fleet.ReconcilerConfig{
		Conn: e.Conn(), Keys: e.Keys(), Records: e.Records(), Groups: e.Groups(), Carrier: e.Carrier(), Outbox: outbox,
		Errands: errands, Calm: calm, Repairs: &s.repairs, Log: e.Log(),
	})
	s.beat = beat
	if _, err := beat.Once(ctx); err != nil {
		return unstored("", err)
	}

	// From here on all parts run; they end after the drain, which needs them.
	parts, end := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer func() {
		end()
		s.reaper.Close()
		wg.Wait()
		outbox.Close()
	}()
	wg.Go(func() { s.listen(parts, promoter) })
	wg.Go(func() { beat.Run(parts) })
	wg.Go(func() { promoter.Run(parts) })
	wg.Go(func() { outbox.Run(parts) })
	wg.Go(func() { strays.Run(parts) })
	wg.Go(func() { holdings.Run(parts) })
	wg.Go(func() { reconciler.Run(parts) })
	return s.serve(ctx)
}

// serve takes deliveries until ctx ends or the worker is aborted, and drains.
func (s *service) serve(ctx context.Context) error {
	w := s.worker
	plain := func() {}
	if a := w.cfg.Asynq; a.Handler != nil {
		var err error
		if plain, err = s.engine.Carrier().ServePlain(a.Handler, a.Queues, a.Concurrency, s.engine.Log()); err != nil {
			return fmt.Errorf("asynq: %w", err)
		}
	}
	started := make(chan struct{})
	server, err := s.engine.Carrier().Serve(carrier.ServeConfig{
		Queues: w.cfg.Queues, Strict: w.cfg.Strict, Slots: w.slots.Gate(), Tended: true, Log: s.engine.Log(),
		Handle: func(queue string, payload []byte) error {
			<-started // deliveries may come before Serve has returned
			return s.exec.Deliver(queue, payload)
		},
	})
	if err != nil {
		plain()
		return fmt.Errorf("worker: %w", err)
	}
	s.server.Store(server)
	close(started)
	w.mu.Lock()
	w.service = s
	w.mu.Unlock()
	close(w.ready)
	s.engine.Log().Info("worker takes tasks", "worker", s.id, "queues", len(w.cfg.Queues), "slots", w.slots.Size(), "types", len(w.handlers))

	select {
	case <-ctx.Done():
	case <-w.abort:
	}
	s.exec.Stop()
	var stops sync.WaitGroup
	stops.Go(server.Drain)
	stops.Go(plain)
	drained := make(chan struct{})
	defer close(drained)
	go func() {
		select {
		case <-w.abort:
			s.exec.Abort()
		case <-drained:
		}
	}()
	err = s.exec.Drain()
	stops.Wait()
	return err
}

// look is what a beat looks for on behalf of the server, once there is one.
func (s *service) look() carrier.Look {
	if server := s.server.Load(); server != nil {
		return server.Look()
	}
	return s.engine.Carrier().NoLook()
}

// listen hears what is for this worker (ends of its tasks) and what is for all (when something is due). Both are hints: beats and
// the promoter look for themselves.
func (s *service) listen(ctx context.Context, promoter *fleet.Promoter) {
	inbox, due := s.engine.Keys().Inbox(s.id), s.engine.Keys().Due()
	sub := s.engine.Conn().Redis().Subscribe(ctx, inbox, due)
	defer func() { _ = sub.Close() }() // the connection is gone in any case
	events := sub.ChannelWithSubscriptions(redis.WithChannelHealthCheckInterval(healthCheck))
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-events:
			if !ok {
				return
			}
			switch e := e.(type) {
			case *redis.Subscription: // at first, or again
				promoter.Missed()
			case *redis.Message:
				if e.Channel == due {
					if ms, err := strconv.ParseInt(e.Payload, 10, 64); err == nil {
						promoter.Wake(time.UnixMilli(ms))
					}
					continue
				}
				if err := record.ParseNotices([]byte(e.Payload), s.exec.Notice); err != nil {
					s.engine.Log().Debug("a message that is no notice", "err", err)
				}
			}
		}
	}
}

// healthCheck is how long the subscription may be silent before it is tried. What it missed, the beats have told meanwhile.
const healthCheck = 30 * time.Second

// hands are the carrier as the executor sees it.
type hands struct{ s *service }

func (h hands) HandOver(ctx context.Context, hs ...record.HandOver) error {
	return h.s.engine.Carrier().HandOver(ctx, h.s.engine.Records(), hs)
}

func (h hands) HandBack(ctx context.Context, one record.HandOver) error {
	return h.s.engine.Carrier().HandBack(ctx, h.s.engine.Records(), one)
}

func (h hands) Waiting(ctx context.Context, queue string) (deliveries, workers int, err error) {
	return h.s.server.Load().Waiting(ctx, queue)
}
