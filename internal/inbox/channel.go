package inbox

import (
	"context"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
)

// EventKind is what a subscription brings.
type EventKind byte

// The kinds.
const (
	Subscribed EventKind = iota + 1 // confirmed, for the first time or again after a reconnect
	Message
	Pong
)

// Event is one thing that a subscription brings.
type Event struct {
	Kind    EventKind
	Payload []byte
}

// Channel is one subscription. It connects again by itself.
type Channel interface {
	// Receive blocks for the next event. After an error that is not its end it may be called again.
	Receive(ctx context.Context) (Event, error)
	// Ping asks for a Pong.
	Ping(ctx context.Context) error
	// Close ends it, and a Receive that waits; twice is fine.
	Close() error
	// Closed reports whether it was closed.
	Closed() bool
}

// Subscribe returns a subscription to a channel of Redis. It sends nothing by itself: no pings, which would cost an idle
// process a command every few seconds.
func Subscribe(rdb redis.UniversalClient, channel string) Channel {
	return &pubsub{rdb: rdb, name: channel}
}

type pubsub struct {
	rdb    redis.UniversalClient
	name   string
	ps     atomic.Pointer[redis.PubSub]
	closed atomic.Bool
}

func (p *pubsub) Receive(ctx context.Context) (Event, error) {
	ps := p.ps.Load()
	if ps == nil {
		ps = p.rdb.Subscribe(ctx)
		p.ps.Store(ps)
		if p.closed.Load() {
			_ = ps.Close()
		}
		if err := ps.Subscribe(ctx, p.name); err != nil {
			return Event{}, err
		}
	}
	for {
		msg, err := ps.ReceiveTimeout(ctx, 0)
		if err != nil {
			return Event{}, err
		}
		switch m := msg.(type) {
		case *redis.Subscription:
			return Event{Kind: Subscribed}, nil
		case *redis.Message:
			return Event{Kind: Message, Payload: []byte(m.Payload)}, nil
		case *redis.Pong:
			return Event{Kind: Pong}, nil
		}
	}
}

func (p *pubsub) Ping(ctx context.Context) error {
	if ps := p.ps.Load(); ps != nil {
		return ps.Ping(ctx)
	}
	return nil
}

func (p *pubsub) Close() error {
	if p.closed.Swap(true) {
		return nil
	}
	if ps := p.ps.Load(); ps != nil {
		return ps.Close()
	}
	return nil
}

func (p *pubsub) Closed() bool { return p.closed.Load() }
