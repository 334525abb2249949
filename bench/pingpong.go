package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

func (k keyspace) request() string { return k.key("request") }
func (k keyspace) reply() string   { return k.key("reply") }

// pingPong is the shortest way to another process and back: one list there, one list back, one round trip at a time.
func pingPong(trips int) side {
	return side{name: "ping-pong", n: trips, jobs: []job{{Role: "echo"}}, run: func(r *round) error {
		message, err := json.Marshal(argsOf(0))
		if err != nil {
			return err
		}
		trip := func(int) error {
			if err := r.rdb.LPush(r.ctx, r.keys.request(), message).Err(); err != nil {
				return err
			}
			reply, err := r.rdb.BLPop(r.ctx, 0, r.keys.reply()).Result()
			if err != nil {
				return err
			}
			if reply[1] != string(message) {
				return fmt.Errorf("sent %q, got %q back", message, reply[1])
			}
			return nil
		}
		return r.trips(trips, trip)
	}}
}

// trips measures one trip after the other, after some that do not count.
func (r *round) trips(n int, trip func(i int) error) error {
	for i := range warmTrips(n) {
		if err := trip(i); err != nil {
			return err
		}
	}
	if err := r.window.open(r.ctx); err != nil {
		return err
	}
	for i := range n {
		begin := time.Now()
		if err := trip(i); err != nil {
			return err
		}
		r.window.latencies = append(r.window.latencies, time.Since(begin))
	}
	return r.window.shut(r.ctx)
}

// warmTrips is how many round trips go before those that count: 200 before 3,000.
func warmTrips(n int) int { return n / 15 }

// echo is the other process.
type echo struct {
	rdb  *redis.Client
	keys keyspace
	fail func(error)
	on   bool
}

func newEcho(rdb *redis.Client, j job, fail func(error)) role {
	return &echo{rdb: rdb, keys: j.Keys, fail: fail}
}

// work begins to answer; blocked in BLPOP it disturbs nobody, so it never rests.
func (e *echo) work(ctx context.Context) error {
	if e.on {
		return nil
	}
	e.on = true
	go func() {
		for {
			request, err := e.rdb.BLPop(ctx, 0, e.keys.request()).Result()
			if err == nil {
				err = e.rdb.LPush(ctx, e.keys.reply(), request[1]).Err()
			}
			if err != nil {
				e.fail(err)
				return
			}
		}
	}()
	return nil
}

func (e *echo) rest() error                { return nil }
func (e *echo) values() map[string]float64 { return nil }
func (e *echo) end()                       {}
