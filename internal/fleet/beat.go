package fleet

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

//go:embed lua/beat.lua
var beatSrc string

var beatScript = conn.NewForeignScript("fleet.beat", carrier.LookLua+errandsSrc+beatSrc)

const (
	// beatEvery is less than a second, so that there is a beat in each second; what the beat looks for waits no longer than that.
	beatEvery = 900 * time.Millisecond
	beatLife  = time.Minute // of what a beat writes, after the last one
	beatCalm  = 5 * time.Second
	beatLong  = 10 // beats between those that renew the life, the list of workers and the clock
)

// Status is what changes from beat to beat.
type Status struct {
	Slots, Running int
	Draining       bool
}

// BeatConfig is what a Beat works with. All fields are needed.
type BeatConfig struct {
	Conn   *conn.Conn
	Keys   keys.Space
	ID     string         // of the worker
	Queues map[string]int // with their weights
	Types  []string       // that it has handlers for
	Status func() Status
	// Ask asks the records about what the worker holds, and passes their answers on.
	Ask func(ctx context.Context) error
	// Look says what to look for on behalf of the carrier's server.
	Look func() carrier.Look
	// Told hears what each beat says that the fleet needs. It must not block.
	Told  func(Errands)
	Clock *Clock
	Calm  bool // nobody else is there to hear it: it only has to keep its own key
	Log   *slog.Logger
}

// Beat writes each second that a worker lives: a counter that only grows, and what others want to know of it. The fields are
// n (counter), host, pid, queues (JSON, with weights), types (a JSON list), slots, running, draining (0|1).
type Beat struct {
	cfg     BeatConfig
	cluster bool
	fixed   []any
	n       int64 // beats so far
	long    int64 // the beat that renews the rest
	last    atomic.Pointer[Errands]
}

// NewBeat returns a beat that Run starts.
func NewBeat(cfg BeatConfig) *Beat {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	slices.Sort(cfg.Types)
	queues, _ := json.Marshal(cfg.Queues) //nolint:errchkjson // strings and numbers
	types, _ := json.Marshal(cfg.Types)   //nolint:errchkjson // strings
	_, cluster := cfg.Conn.Redis().(*redis.ClusterClient)
	return &Beat{cfg: cfg, cluster: cluster, fixed: []any{"host", host, "pid", os.Getpid(), "queues", queues, "types", types}}
}

// Errands returns what the last beat said that the fleet needs.
func (b *Beat) Errands() Errands {
	if e := b.last.Load(); e != nil {
		return *e
	}
	return Errands{}
}

func (b *Beat) every() time.Duration {
	if b.cfg.Calm {
		return beatCalm
	}
	return beatEvery
}

// Once beats now: it makes the worker known, and its clock. The error is that Redis did not answer.
func (b *Beat) Once(ctx context.Context) error {
	s := b.cfg.Status()
	b.n++
	long := 0
	if b.n >= b.long {
		long = 1
	}
	draining := 0
	if s.Draining {
		draining = 1
	}
	look := b.cfg.Look()
	names, args := errandsCall(b.cfg.Keys, b.cluster, look, b.every())
	args = append(args, b.cfg.ID, beatLife.Milliseconds(), long, "n", b.n, "slots", s.Slots, "running", s.Running, "draining", draining)
	if long == 1 {
		args = append(args, b.fixed...)
	}
	call := &conn.Call{
		Script: beatScript,
		Keys:   append([]string{b.cfg.Keys.Worker(b.cfg.ID), b.cfg.Keys.Workers(), b.cfg.Keys.Lead()}, names...),
		Args:   args,
	}
	sent := time.Now()
	if err := b.cfg.Conn.All(ctx, call); err != nil {
		return fmt.Errorf("beat: %w", err)
	}
	r := record.NewReply(call.Reply, nil)
	now := time.Unix(r.Int(), r.Int()*1000)
	e, err := readErrands(r.List(), now, look.Queues)
	if err != nil {
		return fmt.Errorf("beat: %w", err)
	}
	b.cfg.Clock.learn(sent, time.Now(), now)
	b.last.Store(&e)
	b.cfg.Told(e)
	if long == 1 {
		b.long = b.n + beatLong
	}
	return nil
}

// Run beats until ctx ends, and then takes the worker off the list.
func (b *Beat) Run(ctx context.Context) {
	defer b.leave()
	tick := time.NewTicker(b.every())
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// One beat that hangs must not keep the next one from going out over another connection.
		once, stop := context.WithTimeout(ctx, beatEvery)
		err := b.Once(once)
		if err == nil {
			err = b.cfg.Ask(once)
		}
		stop()
		if err != nil && ctx.Err() == nil {
			b.long = 0 // the next one renews all
			b.cfg.Log.Warn("beat not answered", "worker", b.cfg.ID, "err", err)
		}
	}
}

func (b *Beat) leave() {
	ctx, stop := context.WithTimeout(context.Background(), beatEvery)
	defer stop()
	calls := []*conn.Call{conn.NewCommand("del", b.cfg.Keys.Worker(b.cfg.ID)), conn.NewCommand("zrem", b.cfg.Keys.Workers(), b.cfg.ID)}
	if b.Errands().Leads {
		// It may have passed on meanwhile: then whoever has it gets it back with the next beat.
		calls = append(calls, conn.NewCommand("del", b.cfg.Keys.Lead()))
	}
	err := b.cfg.Conn.All(ctx, calls...)
	if err != nil {
		b.cfg.Log.Warn("the worker could not be taken off the list; it fades by itself", "worker", b.cfg.ID, "err", err)
	}
}

// Peer is what a worker's beat says of it.
type Peer struct {
	ID             string
	Beat           int64
	Host           string
	PID            int
	Queues         map[string]int
	Types          []string
	Slots, Running int
	Draining       bool
}

// Peers reads the beats of all workers that beat in the last minute.
func Peers(ctx context.Context, c *conn.Conn, k keys.Space) ([]Peer, error) {
	list := conn.NewCommand("zrange", k.Workers(), 0, -1)
	if err := c.Do(ctx, list); err != nil {
		return nil, err
	}
	if list.Err != nil {
		return nil, list.Err
	}
	ids, _ := list.Reply.([]any)
	calls := make([]*conn.Call, len(ids))
	for i, id := range ids {
		calls[i] = conn.NewCommand("hmget", k.Worker(fmt.Sprint(id)), "n", "host", "pid", "queues", "types", "slots", "running", "draining")
	}
	if err := c.Do(ctx, calls...); err != nil {
		return nil, err
	}
	var peers []Peer
	for i, call := range calls {
		if call.Err != nil {
			return nil, call.Err
		}
		f, _ := call.Reply.([]any)
		if len(f) != 8 || f[0] == nil {
			continue // gone meanwhile
		}
		text := func(i int) string { s, _ := f[i].(string); return s }
		number := func(i int) int { n, _ := strconv.Atoi(text(i)); return n }
		p := Peer{
			ID: fmt.Sprint(ids[i]), Beat: int64(number(0)), Host: text(1), PID: number(2),
			Slots: number(5), Running: number(6), Draining: text(7) == "1",
		}
		if err := errors.Join(json.Unmarshal([]byte(text(3)), &p.Queues), json.Unmarshal([]byte(text(4)), &p.Types)); err != nil {
			return nil, fmt.Errorf("beat of worker %s: %w", p.ID, err)
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// Known reports whether a worker of the queue that lives has a handler for the type.
func Known(ctx context.Context, c *conn.Conn, k keys.Space, queue, typ string) (bool, error) {
	peers, err := Peers(ctx, c, k)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(peers, func(p Peer) bool {
		return !p.Draining && p.Queues[queue] > 0 && slices.Contains(p.Types, typ)
	}), nil
}
