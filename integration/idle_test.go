package integration

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// idleBudget is how many commands an idle worker process may send in a second.
const idleBudget = 3

func TestDecision41_AnIdleWorkerIsCheap(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		workers int
		window  time.Duration
		long    bool
	}{{1, 30 * time.Second, false}, {20, 20 * time.Second, false}, {1, time.Minute, true}, {200, time.Minute, true}} {
		t.Run(fmt.Sprintf("%d for %v", tt.workers, tt.window), func(t *testing.T) {
			if tt.long {
				long(t)
			} else {
				t.Parallel()
			}
			s := redistest.Local(t)
			for range tt.workers {
				start(t, s, "worker", "", "--admin", "off")
			}
			rdb := s.Client(t)
			within(t, 3*time.Minute, "workers", func() bool {
				n, err := rdb.ZCard(t.Context(), "gq:{gatherq}:parked:default").Result()
				return err == nil && int(n) >= tt.workers
			})
			m := watch(t, s)
			pause(t, tt.window)
			lines := m.take()
			rate := float64(len(lines)) / tt.window.Seconds() / float64(tt.workers)
			figure(t, "idle", map[string]any{"workers": tt.workers, "seconds": tt.window.Seconds(), "commands_per_s": rate})
			if rate > idleBudget || rate < 1 {
				t.Errorf("%.2f commands/s of each of %d workers, want from 1 to %d:\n%s", rate, tt.workers, idleBudget, census(lines))
			}
		})
	}
}

// census counts lines by what they are.
func census(lines []line) string {
	count := map[string]int{}
	for _, l := range lines {
		name := l.words[0]
		if keys := l.keys(); len(keys) > 0 {
			name += " " + keys[0]
		}
		name, _, _ = strings.Cut(name, "~")
		name, _, _ = strings.Cut(name, ":w:")
		count[fmt.Sprintf("%.60s", name)]++
	}
	var out []string
	for name, n := range count {
		out = append(out, fmt.Sprintf("%6d %s", n, name))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// idleFleet starts workers in this process, each with connections of its own that bear its name, and waits until all are parked.
func idleFleet(t *testing.T, s *redistest.Server, workers int) (names map[string]string) {
	t.Helper()
	rdb := s.Client(t)
	for i := range workers {
		opts, err := redis.ParseURL(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		opts.ClientName = fmt.Sprintf("worker-%d", i)
		own := redis.NewClient(opts)
		t.Cleanup(func() { own.Close() })
		c, err := jobs.NewClient(own, jobs.ClientConfig{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		endingWorker(t, c)
	}
	eventually(t, "a fleet at rest", func() bool {
		return rdb.ZCard(t.Context(), "gq:{gatherq}:parked:default").Val() >= int64(workers)
	})
	return clientNames(t, rdb)
}

// clientNames are the names of connections by address.
func clientNames(t *testing.T, rdb *redis.Client) map[string]string {
	t.Helper()
	list, err := rdb.ClientList(t.Context()).Result()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for entry := range strings.Lines(list) {
		var addr, name string
		for _, field := range strings.Fields(entry) {
			if v, ok := strings.CutPrefix(field, "addr="); ok {
				addr = v
			}
			if v, ok := strings.CutPrefix(field, "name="); ok {
				name = v
			}
		}
		names[addr] = name
	}
	return names
}

// rest tells what a worker sends anyway from what something made it send.
type rest struct {
	waits map[string]wait // by worker
	looks []time.Time     // dequeues after waits that ended by themselves, or about when they would have
	beats []time.Time     // each looks, too, for what is pending
}

// wait is a worker's waiting at the bells.
type wait struct {
	until time.Time
	over  bool // it ended by itself
}

// doubt is how long before the end of its wait a dequeue may yet be no answer to a bell: a busy Redis reads several commands at
// the time of the first.
const doubt = 100 * time.Millisecond

// regular reports whether an idle worker would have sent that: beats, asynq's loops, and a wait at the bells that ended by itself,
// with its dequeue and the next wait.
func (r *rest) regular(worker string, l line) bool {
	w := r.waits[worker]
	switch {
	case l.is("evalsha", "}:w:"), l.is("eval", "}:w:"): // the beat
		r.beats = append(r.beats, l.at)
		return true
	case l.is("ping", ""), l.is("hello", ""), l.is("client", ""):
		return true
	case l.is("zadd", "asynq:"), l.is("zrangebyscore", "}:lease"), l.is("evalsha", "asynq:servers"), l.is("evalsha", "asynq:workers"):
		return true
	case len(l.keys()) < 4 && (l.is("evalsha", "}:scheduled") || l.is("evalsha", "}:retry") || l.is("evalsha", "}:lease") ||
		l.is("evalsha", "}:completed") || l.is("evalsha", "}:aggregation_sets")):
		return true
	case dequeues(l):
		w.over = !l.at.Before(w.until.Add(-2 * time.Millisecond)) // Redis counts a wait in whole milliseconds
		r.waits[worker] = w
		if !l.at.Before(w.until.Add(-doubt)) {
			r.looks = append(r.looks, l.at)
		}
		return w.over
	case l.is("blpop", ""):
		d, _ := strconv.ParseFloat(l.words[len(l.words)-1], 64)
		over := w.over
		r.waits[worker] = wait{until: l.at.Add(time.Duration(d * float64(time.Second)))}
		return over
	case l.is("evalsha", "}:bell:~"): // it parks
		return w.over
	}
	return false
}

// met reports whether a worker that looked by itself may have met what happened between these lines.
func (r *rest) met(lines []line) bool {
	if len(lines) == 0 {
		return true
	}
	end := lines[len(lines)-1].at
	if i := slices.IndexFunc(lines, func(l line) bool { return l.is("blpop", "") }); i >= 0 {
		end = lines[i].at
	}
	if between(r.looks, lines[0].at, end.Add(2*time.Millisecond)) {
		return true
	}
	taken := slices.IndexFunc(lines, dequeues)
	return taken >= 0 && between(r.beats, lines[0].at, lines[taken].at)
}

func between(times []time.Time, from, to time.Time) bool {
	return slices.ContainsFunc(times, func(at time.Time) bool { return !at.Before(from) && !at.After(to) })
}

// dequeues reports whether a command is asynq's dequeue.
func dequeues(l line) bool { return l.is("evalsha", "}:pending") && len(l.keys()) == 4 }

// wakeBudget is how many commands one create may cause with its delivery and its end, of all clients together.
const wakeBudget = 12

// One create wakes one worker, however many are idle: all that is sent is the create, the delivery, its end, and that the worker
// waits again.
func TestDecision41_OneCreateWakesOneWorker(t *testing.T) {
	for _, workers := range []int{50, 200} {
		t.Run(strconv.Itoa(workers), func(t *testing.T) {
			if workers > 50 {
				long(t)
			}
			s := redistest.Local(t)
			idleFleet(t, s, workers)
			producer := client(t, s, jobs.ClientConfig{Logger: slog.New(slog.DiscardHandler)})
			m := watch(t, s)
			roundTrip(t, producer)   // connections, a subscription, a queue that is new to asynq
			pause(t, 11*time.Second) // every worker waits anew at least once, so that we know until when
			names := clientNames(t, s.Client(t))
			state := &rest{waits: map[string]wait{}}
			collect := func() (caused []line) {
				for _, l := range m.take() {
					if name, ok := names[l.addr]; ok && !state.regular(name, l) {
						caused = append(caused, l)
					}
				}
				return caused
			}
			collect()
			for rounds, tries := 0, 0; rounds < 5; tries++ {
				pause(t, time.Second) // so that nothing is left of the round before
				collect()
				state.looks, state.beats = nil, nil
				task, err := jobs.CreateTask(t.Context(), producer, ending.Call("value"))
				if err != nil {
					t.Fatal(err)
				}
				pause(t, 200*time.Millisecond)
				caused := collect()
				eventually(t, "a worker that waits again", func() bool {
					caused = append(caused, collect()...)
					return slices.ContainsFunc(caused, func(l line) bool { return l.is("blpop", "") }) || state.met(caused)
				})
				if _, err := await.Result(t.Context(), task); err != nil {
					t.Fatal(err)
				}
				if state.met(caused) && tries < 50 {
					continue // whoever looked by itself just then is nobody that was woken
				}
				rounds++
				woken := map[string]bool{}
				var text strings.Builder
				for _, l := range caused {
					fmt.Fprintln(&text, names[l.addr], l)
					if names[l.addr] != "" {
						woken[names[l.addr]] = true
					}
				}
				figure(t, "wake", map[string]any{"workers": workers, "commands": len(caused), "woken": len(woken)})
				if len(caused) > wakeBudget || len(caused) < 6 || len(woken) != 1 {
					t.Errorf("%d commands, %d workers woken; want at most %d, and one:\n%s", len(caused), len(woken), wakeBudget, &text)
				}
			}
		})
	}
}
