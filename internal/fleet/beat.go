package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

const (
	// beatEvery is less than a second, so that there is a beat in each second; what the beat looks for waits no longer than that.
	beatEvery    = 900 * time.Millisecond
	beatWatchful = 500 * time.Millisecond // while somebody is late: who is dead shows sooner
	beatLife     = 24 * time.Hour         // of what is known of a worker, where nobody is left to bury it
	beatCalm     = 5 * time.Second
	beatLong     = 10 // beats between those that say what does not change
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
	Told func(Errands)
	// Read hears which other workers are late, in the order of the reads, and says whether to look again soon.
	Read func(Reading) (soon bool)
	// Revive is called when this worker had been declared dead, at that beat or before, and beats again: what others have taken from
	// it stays theirs. It is called until it returns nil.
	Revive func(ctx context.Context, beat int64) error
	// Rewound is called when Redis has gone back to an earlier state: it was restored from a backup, or a failover has lost writes. It
	// looks through every shard. Until it returns nil nobody is taken for dead. It may take its time.
	Rewound func(ctx context.Context) error
	// Return gives back all that the worker still holds at its end.
	Return  func(ctx context.Context, beat int64) error
	Clock   *Clock
	Calm    bool     // nobody else is there to hear it: it only has to keep its own key
	Repairs *Repairs // may be nil
	Log     *slog.Logger
}

// Reading is what the answer to a beat says of the others.
type Reading struct {
	Sent, Answered time.Time // on the local clock
	Now            time.Time // by Redis' clock
	Master         string    // which of Redis' masters said so, "" where that is not known; another one after a failover and most restarts
	Anew           bool      // what was read before does not count any more
	Late           []Late
}

// Late is a worker whose last beat is more than lateAfter ago, by Redis' clock, or in the future.
type Late struct {
	ID   string
	Beat int64
	At   time.Time // of that beat, by Redis' clock; zero: not known
}

// lateAfter is when a worker is looked at: one beat is missing.
const lateAfter = 1200 * time.Millisecond

// Beat writes each second that a worker lives: a counter that only grows, and what others want to know of it. The fields are
// n (counter), at (its time), host, pid, queues (JSON, with weights), types (a JSON list), slots, running, draining (0|1). The answer
// to a beat is the look at the others.
type Beat struct {
	cfg     BeatConfig
	cluster bool
	fixed   []any
	n       int64 // beats so far
	long    int64 // the beat that says the rest, too
	owed    int64 // the beat at which it can last have been declared dead, while that is not dealt with
	dealt   int64 // the last that was
	mark    int64 // the namespace's, when it was seen last
	last    atomic.Pointer[Errands]

	rewinds atomic.Uint64
	looking atomic.Bool     // Rewound is at work
	patient time.Time       // until then the others are not judged meanwhile
	anew    bool            // no reading went out since
	life    context.Context //nolint:containedctx // ends with Run
	end     context.CancelFunc
	wg      sync.WaitGroup
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
	b := &Beat{cfg: cfg, cluster: cluster, fixed: []any{"host", host, "pid", os.Getpid(), "queues", queues, "types", types}}
	b.life, b.end = context.WithCancel(context.Background())
	return b
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

// Once beats now: it makes the worker known, and its clock. soon says that the next beat should not wait for its time. The error
// is that Redis did not answer.
func (b *Beat) Once(ctx context.Context) (soon bool, err error) {
	s := b.cfg.Status()
	b.n++
	long := b.n >= b.long
	draining := 0
	if s.Draining {
		draining = 1
	}
	look := b.cfg.Look()
	names, args := errandsCall(b.cfg.Keys, b.cluster, look, b.every())
	args = append(args, b.cfg.ID, b.n, b.dealt, lateAfter.Milliseconds(), beatLife.Milliseconds(), "slots", s.Slots, "running", s.Running, "draining", draining)
	if long {
		args = append(args, b.fixed...)
	}
	call := &conn.Call{
		Script: beatScript,
		Keys:   append([]string{b.cfg.Keys.Worker(b.cfg.ID), b.cfg.Keys.Workers(), b.cfg.Keys.Lead(), b.cfg.Keys.Meta()}, names...),
		Args:   args,
	}
	r := Reading{Sent: time.Now()}
	if err := b.cfg.Conn.All(ctx, call); err != nil {
		return false, fmt.Errorf("beat: %w", err)
	}
	r.Answered = time.Now()
	e, dead, mark, err := r.read(call.Reply, look.Queues)
	if err != nil {
		return false, fmt.Errorf("beat: %w", err)
	}
	if mark < b.mark {
		b.rewound(mark)
	}
	b.mark = mark
	b.cfg.Clock.learn(r.Sent, r.Answered, r.Now)
	b.last.Store(&e)
	b.cfg.Told(e)
	if long {
		b.long = b.n + beatLong
	}
	if dead {
		b.long, b.owed = 0, b.n-1
		b.cfg.Log.Warn("this worker had been declared dead; what it held may run elsewhere by now", "worker", b.cfg.ID)
	}
	if b.owed > 0 {
		if err := b.cfg.Revive(ctx, b.owed); err != nil {
			return true, fmt.Errorf("beat: revive: %w", err)
		}
		b.dealt, b.owed = b.owed, 0
		b.cfg.Repairs.Repaired(RepairUndone, 1)
	}
	if b.cfg.Calm || b.looking.Load() && time.Now().Before(b.patient) {
		return false, nil
	}
	r.Anew, b.anew = b.anew, false
	return b.cfg.Read(r), nil
}

// Rewinds returns how often Redis has gone back to an earlier state.
func (b *Beat) Rewinds() uint64 { return b.rewinds.Load() }

// rewindPatience is how long after Redis went back nobody is judged while the shards are looked through. Where that fails for good, the dead
// must be found all the same.
const rewindPatience = 30 * time.Second

// rewound sees to it that every shard is looked through, apart, so that beats go on.
func (b *Beat) rewound(mark int64) {
	b.rewinds.Add(1)
	b.cfg.Repairs.Repaired(RepairRollback, 1)
	b.anew, b.patient = true, time.Now().Add(rewindPatience)
	b.cfg.Log.Warn("Redis has gone back to an earlier state: it was restored from a backup, or a failover has lost writes; every shard is looked through",
		"worker", b.cfg.ID, "mark", mark, "before", b.mark)
	if b.looking.Swap(true) {
		return
	}
	b.wg.Go(func() {
		defer b.looking.Store(false)
		ctx := b.life
		for pause := rewindPause; ; pause = min(2*pause, rewindPauses) {
			err := b.cfg.Rewound(ctx)
			if err == nil || ctx.Err() != nil {
				return
			}
			b.cfg.Log.Warn("could not look through every shard; it is tried again", "worker", b.cfg.ID, "err", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return
			}
		}
	})
}

// Pauses between tries to look through every shard grow between these.
const (
	rewindPause  = 100 * time.Millisecond
	rewindPauses = 5 * time.Second
)

// read takes in the answer to a beat.
func (r *Reading) read(answer any, queues []string) (e Errands, dead bool, mark int64, err error) {
	a := record.NewReply(answer, nil)
	r.Now = time.Unix(a.Int(), a.Int()*1000)
	if e, err = readErrands(a.List(), r.Now, queues); err != nil {
		return e, false, 0, err
	}
	dead, mark, r.Master = a.Int() == 1, a.Int(), a.Str()
	for a.More() {
		l := a.List()
		r.Late = append(r.Late, Late{ID: l.Str(), Beat: l.Int(), At: l.Time()})
		if l.Err != nil {
			return e, dead, mark, l.Err
		}
	}
	return e, dead, mark, a.Err
}

// Run beats until ctx ends, and then takes the worker off the list.
func (b *Beat) Run(ctx context.Context) {
	defer b.leave()
	defer b.wg.Wait()
	defer b.end()
	tick := time.NewTicker(b.every())
	defer tick.Stop()
	hasty := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// One beat that hangs must not keep the next one from going out over another connection.
		once, stop := context.WithTimeout(ctx, beatEvery)
		soon, err := b.Once(once)
		if err == nil {
			err = b.cfg.Ask(once)
		}
		stop()
		if err != nil && ctx.Err() == nil {
			b.long = 0 // the next one says all
			b.cfg.Log.Warn("beat not answered", "worker", b.cfg.ID, "err", err)
		}
		if soon != hasty {
			hasty = soon
			tick.Reset(map[bool]time.Duration{false: b.every(), true: beatWatchful}[hasty])
		}
	}
}

// leaveWithin is for the last words of a worker.
const leaveWithin = 2 * time.Second

func (b *Beat) leave() {
	ctx, stop := context.WithTimeout(context.Background(), leaveWithin)
	defer stop()
	err := b.cfg.Return(ctx, b.n)
	if err == nil {
		calls := []*conn.Call{conn.NewCommand("del", b.cfg.Keys.Worker(b.cfg.ID)), conn.NewCommand("zrem", b.cfg.Keys.Workers(), b.cfg.ID)}
		if b.Errands().Leads {
			// It may have passed on meanwhile: then whoever has it gets it back with the next beat.
			calls = append(calls, conn.NewCommand("del", b.cfg.Keys.Lead()))
		}
		err = b.cfg.Conn.All(ctx, calls...)
	}
	if err != nil {
		b.cfg.Log.Warn("the worker could not be taken off the list; the others declare it dead", "worker", b.cfg.ID, "err", err)
	}
}
