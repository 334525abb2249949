package inbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// world is a Redis as the inbox sees it: records, registrations, one subscription.
type world struct {
	mu       sync.Mutex
	records  map[string]record.Answer // absent: unknown
	waiting  map[record.Interest]bool // registered
	watches  [][]record.Interest
	down     bool            // Watch gets no answer
	gone     map[string]bool // nor what it asks about these: their master is not there
	hang     bool            // Watch blocks until its context ends
	mute     bool            // notices are lost
	delay    time.Duration
	swept    []string
	answered time.Time
	opened   int
	pings    int
	channel  *line
}

func newWorld() *world {
	return &world{records: map[string]record.Answer{}, waiting: map[record.Interest]bool{}}
}

func (w *world) inbox(patience time.Duration) *Inbox {
	return New(Config{
		Watch: w.watch, Open: w.open, Patience: patience,
		Sweep: func(_ context.Context, id string) error {
			w.mu.Lock()
			w.swept = append(w.swept, id)
			w.mu.Unlock()
			w.end(id, record.BarrierView, record.Answer{Outcome: record.Outcome{State: record.TimedOut}, Barrier: true})
			return nil
		},
		Deliver: func(context.Context, string) error { return nil },
		LastAnswer: func() (time.Time, bool) {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.answered, !w.answered.IsZero()
		},
		Heard:    w.heard,
		Failed:   func(error) {},
		NoAnswer: func(err error) bool { return errors.Is(err, errDown) },
	})
}

var errDown = errors.New("connection refused")

func (w *world) heard() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answered = time.Now()
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) watch(ctx context.Context, _ string, in []record.Interest) (out []record.Answer, missing []int, err error) {
	every := make([]int, len(in))
	for i := range every {
		every[i] = i
	}
	w.mu.Lock()
	w.watches = append(w.watches, slices.Clone(in))
	down, hang, delay := w.down, w.hang, w.delay
	w.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, every, errDown
	}
	if down {
		time.Sleep(time.Second)
		return nil, every, errDown
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, it := range in {
		if w.gone[it.ID] {
			missing, err = append(missing, i), errDown
			continue
		}
		a, ok := w.records[it.ID]
		switch {
		case !ok:
			a.Status = record.IsUnknown
		case a.Status == record.Waiting && it.View == record.ProgressView && a.Done > it.After:
			a.Status = record.HasEnded
		case a.Status == record.Waiting:
			w.waiting[it] = true
		}
		a.Place, a.Outcome.ID = i, it.ID
		if a.Status != record.Waiting || a.Overdue {
			out = append(out, a)
		}
	}
	if len(missing) < len(in) {
		w.answered = time.Now()
	}
	if delay > 0 { // the answer is on its way
		w.mu.Unlock()
		time.Sleep(delay)
		w.mu.Lock()
	}
	return out, missing, err
}

// begin makes ids known and open.
func (w *world) begin(ids ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, id := range ids {
		w.records[id] = record.Answer{}
	}
}

// end ends id, and tells who is registered.
func (w *world) end(id string, view record.View, a record.Answer) {
	w.mu.Lock()
	a.Status = record.HasEnded
	w.records[id] = a
	told := w.waiting[record.Interest{ID: id, View: view}]
	delete(w.waiting, record.Interest{ID: id, View: view})
	c, mute := w.channel, w.mute
	w.mu.Unlock()
	if told && !mute && c != nil {
		fields := []string{string(rune(view)), id}
		if view != record.Whole {
			fields = append(fields, strconv.Itoa(a.Done))
		}
		c.send(Event{Kind: Message, Payload: pack(fields...)})
	}
}

func (w *world) endTask(id string) {
	w.end(id, record.Whole, record.Answer{Outcome: record.Outcome{State: record.Succeeded, Value: record.Wrap([]byte(`1`))}})
}

func pack(fields ...string) []byte {
	var b strings.Builder
	for _, f := range fields {
		fmt.Fprintf(&b, "%d:%s", len(f), f)
	}
	return []byte(b.String())
}

// line is the subscription.
type line struct {
	w      *world
	events chan Event
	gone   chan struct{}
	once   sync.Once
	silent bool // half open: no pong, no notices
	first  bool
}

func (w *world) open(string) Channel {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opened++
	w.channel = &line{w: w, events: make(chan Event, 1024), gone: make(chan struct{}), first: true}
	return w.channel
}

func (c *line) send(e Event) {
	select {
	case c.events <- e:
	case <-c.gone:
	}
}

func (c *line) Receive(ctx context.Context) (Event, error) {
	c.w.mu.Lock()
	down := c.w.down
	first := c.first && !down
	if first {
		c.first = false
	}
	c.w.mu.Unlock()
	if down {
		return Event{}, errDown
	}
	if first {
		return Event{Kind: Subscribed}, nil
	}
	select {
	case e, ok := <-c.events:
		if !ok || e.Kind == 0 {
			c.w.set(func() { c.first = true })
			return Event{}, errDown
		}
		return e, nil
	case <-c.gone:
		return Event{}, errDown
	case <-ctx.Done():
		return Event{}, ctx.Err()
	}
}

func (c *line) Ping(context.Context) error {
	c.w.mu.Lock()
	c.w.pings++
	silent := c.silent
	c.w.mu.Unlock()
	if !silent {
		c.send(Event{Kind: Pong})
	}
	return nil
}

func (c *line) Close() error { c.once.Do(func() { close(c.gone) }); return nil }

func (c *line) Closed() bool {
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

func (w *world) flights() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.watches)
}
