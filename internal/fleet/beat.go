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

	// beatAnswer is how long the answer to a beat is waited for while the next ones go out over other connections. So the pace of the beats,
	// and that of the looks at the others, does not depend on how far away Redis is, and a fleet is led up to there.
	beatAnswer = 5 * beatEvery
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
	// Rewound is called in the worker that leads when Redis has gone back to an earlier state: it was restored from a backup, or a failover
	// has lost writes. It looks through every shard. Until it returns nil nobody is taken for dead. It may take its time.
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
	last    atomic.Pointer[Errands]
	soon    chan bool // what each turn of Run says of the next beat

	mu    sync.Mutex
	n     int64 // beats so far
	long  int64 // the beat that says the rest, too
	dealt int64 // the last beat at which it had been declared dead and that is dealt with

	taking  sync.Mutex // answers are taken one after the other
	owed    int64      // the beat at which it can last have been declared dead, while that is not dealt with
	mark    int64      // the namespace's, when it was seen last
	taken   time.Time  // when the answer came that said so
	anew    bool       // no reading went out since
	late    row        // answers that took longer than until the next beat, and were taken
	missing row        // beats without an answer

	asking  sync.Mutex                // by whom asks about the holdings
	looking atomic.Bool               // the shards are to be looked through, here or by who leads
	patient atomic.Pointer[time.Time] // until then the others are not judged meanwhile
	life    context.Context           //nolint:containedctx // ends with Run
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
	b := &Beat{cfg: cfg, cluster: cluster, soon: make(chan bool), fixed: []any{"host", host, "pid", os.Getpid(), "queues", queues, "types", types}}
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

// BeatStats counts since the start.
type BeatStats struct {
	Late       uint64 // beats whose answers took longer than it is to the next beat, and were taken
	Unanswered uint64 // beats, and questions for what the worker holds, without an answer in time
}

// Stats returns its counters.
func (b *Beat) Stats() BeatStats {
	return BeatStats{Late: b.late.n.Load(), Unanswered: b.missing.n.Load()}
}

// pulse is one beat on its way.
type pulse struct {
	Reading
	n, dealt int64 // as they were when it left
	long     bool
	queues   []string
	call     *conn.Call
}

// next returns the next beat.
func (b *Beat) next() *pulse {
	s, look := b.cfg.Status(), b.cfg.Look()
	draining := 0
	if s.Draining {
		draining = 1
	}
	names, args := errandsCall(b.cfg.Keys, b.cluster, look, b.every())
	b.mu.Lock()
	defer b.mu.Unlock()
	b.n++
	p := &pulse{n: b.n, dealt: b.dealt, long: b.n >= b.long, queues: look.Queues}
	args = append(args, b.cfg.ID, p.n, p.dealt, lateAfter.Milliseconds(), beatLife.Milliseconds(), "slots", s.Slots, "running", s.Running, "draining", draining)
	if p.long {
		args = append(args, b.fixed...)
	}
	p.call = &conn.Call{
		Script: beatScript,
		Keys:   append([]string{b.cfg.Keys.Worker(b.cfg.ID), b.cfg.Keys.Workers(), b.cfg.Keys.Lead(), b.cfg.Keys.Meta()}, names...),
		Args:   args,
	}
	return p
}

// Once beats now: it makes the worker known, and its clock. soon says that the next beat should not wait for its time. The error
// is that Redis did not answer.
func (b *Beat) Once(ctx context.Context) (soon bool, err error) { return b.once(ctx, 0) }

// once is Once, which sends a beat that broke on its way again for a while: conn.Conn.DoWithin.
func (b *Beat) once(ctx context.Context, while time.Duration) (soon bool, err error) {
	p := b.next()
	p.Sent = time.Now()
	if err = b.cfg.Conn.DoWithin(ctx, while, p.call); err == nil {
		err = p.call.Err
	}
	if err != nil {
		return false, fmt.Errorf("beat: %w", err)
	}
	p.Answered = time.Now()
	return b.take(ctx, p)
}

// take takes in the answer to a beat.
func (b *Beat) take(ctx context.Context, p *pulse) (soon bool, err error) {
	e, dead, mark, err := p.read(p.call.Reply, p.queues)
	if err != nil {
		return false, fmt.Errorf("beat: %w", err)
	}
	b.taking.Lock()
	defer b.taking.Unlock()
	if took := p.Answered.Sub(p.Sent); took > beatEvery && b.late.one(p.Answered) {
		b.cfg.Log.Warn("Redis answers later than this worker beats: it is far away or busy, or this process gets no turn", "worker", b.cfg.ID, "took", took.Round(time.Millisecond))
	}
	back := mark < b.mark
	if back && p.Sent.Before(b.taken) {
		return false, nil // another one overtook it: what it says is known better
	}
	b.cfg.Clock.learn(p.Sent, p.Answered, p.Now)
	b.last.Store(&e)
	if back {
		b.rewound(mark) // asks who leads
	}
	b.mark, b.taken = mark, p.Answered
	b.cfg.Told(e)
	// One that left before a death was dealt with tells of that death again; of another one the next beat tells, too.
	if err := b.revive(ctx, p, dead && p.dealt == b.dealt); err != nil {
		return true, err
	}
	if b.cfg.Calm || b.looking.Load() && time.Now().Before(*b.patient.Load()) {
		return false, nil
	}
	p.Anew, b.anew = b.anew, false
	return b.cfg.Read(p.Reading), nil
}

// revive deals with what a beat's answer says of this worker itself. taking is held.
func (b *Beat) revive(ctx context.Context, p *pulse, dead bool) error {
	b.mu.Lock()
	if p.long {
		b.long = p.n + beatLong
	}
	if dead {
		b.long, b.owed = 0, p.n-1
	}
	b.mu.Unlock()
	if dead {
		b.cfg.Log.Warn("this worker had been declared dead; what it held may run elsewhere by now", "worker", b.cfg.ID)
	}
	if b.owed == 0 {
		return nil
	}
	if err := b.cfg.Revive(ctx, b.owed); err != nil {
		return fmt.Errorf("beat: revive: %w", err)
	}
	b.mu.Lock()
	b.dealt, b.owed = b.owed, 0
	b.mu.Unlock()
	b.cfg.Repairs.Repaired(RepairUndone, 1)
	return nil
}

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
		case soon := <-b.soon:
			if soon != hasty {
				hasty = soon
				tick.Reset(map[bool]time.Duration{false: b.every(), true: beatWatchful}[hasty])
			}
		case <-tick.C:
			// Apart: one beat that hangs must not keep the next one from going out over another connection.
			b.wg.Go(func() { b.turn(ctx) })
		}
	}
}

// turn beats once, and asks about what the worker holds.
func (b *Beat) turn(ctx context.Context) {
	once, stop := context.WithTimeout(ctx, beatAnswer)
	soon, err := b.once(once, b.every()) // later there is a newer one
	stop()
	select {
	case b.soon <- soon:
	case <-ctx.Done():
		return
	}
	if err == nil {
		err = b.ask(ctx)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	b.taking.Lock()
	first := b.missing.one(time.Now())
	b.taking.Unlock()
	b.mu.Lock()
	b.long = 0 // the next one says all
	b.mu.Unlock()
	if first {
		b.cfg.Log.Warn("beat not answered", "worker", b.cfg.ID, "err", err)
	}
}

// ask asks about what the worker holds, unless that is under way.
func (b *Beat) ask(ctx context.Context) error {
	if !b.asking.TryLock() {
		return nil
	}
	defer b.asking.Unlock()
	ctx, stop := context.WithTimeout(ctx, beatAnswer)
	defer stop()
	return b.cfg.Ask(ctx)
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
