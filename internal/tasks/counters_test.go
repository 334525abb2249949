package tasks

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/embedded"
)

func TestRedisCounters(t *testing.T) {
	e, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	rdb := redis.NewClient(e.Options())
	defer rdb.Close()
	c := redisCounters{rdb}

	// The context has ended: what was executed is counted all the same.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	const n = 20
	var inside, released sync.WaitGroup
	gate := make(chan struct{})
	inside.Add(n)
	for range n {
		released.Go(func() {
			leave, err := c.Enter(ctx, "g")
			inside.Done()
			if err != nil {
				t.Error(err)
				return
			}
			<-gate
			if err := leave(); err != nil {
				t.Error(err)
			}
			if err := c.Incr(ctx, "i"); err != nil {
				t.Error(err)
			}
		})
	}
	inside.Wait()
	close(gate)
	released.Wait()
	if leave, err := c.Enter(ctx, "g"); err != nil {
		t.Error(err)
	} else if err := leave(); err != nil {
		t.Error(err)
	}
	for key, want := range map[string]int{"sim:g": 0, "sim:g:max": n, "sim:i": n} {
		if got, err := rdb.Get(t.Context(), key).Int(); got != want || err != nil {
			t.Errorf("%s is %d, %v; want %d", key, got, err, want)
		}
		if ttl, err := rdb.TTL(t.Context(), key).Result(); ttl != -1 || err != nil {
			t.Errorf("%s has a TTL: %v, %v", key, ttl, err)
		}
	}
}

// deaf loses the reply of every command: it executes and then breaks the connection.
type deaf struct {
	net.Conn
	on *atomic.Bool
}

func (d deaf) Read(p []byte) (int, error) {
	n, err := d.Conn.Read(p)
	if err == nil && d.on.Load() {
		_ = d.Close()
		return 0, errors.New("reply lost")
	}
	return n, err
}

// TestDecision03_IncrIsSentOnce: after a lost reply INCR is an error, and was executed once.
func TestDecision03_IncrIsSentOnce(t *testing.T) {
	e, err := embedded.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var lose atomic.Bool
	options := e.Options()
	dial := options.Dialer
	options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		return deaf{conn, &lose}, err
	}
	options.PoolSize = 1
	rdb := redis.NewClient(options)
	defer rdb.Close()
	if err := rdb.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	lose.Store(true)
	if err := (redisCounters{rdb}).Incr(t.Context(), "i"); err == nil {
		t.Error("a lost reply is no error")
	}
	lose.Store(false)
	if got, err := rdb.Get(t.Context(), "sim:i").Int(); got != 1 || err != nil {
		t.Errorf("executed %d times, %v", got, err)
	}
}
