package worker

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/record"
)

func TestPassingRefusalsAreOutlasted(t *testing.T) {
	for _, reply := range []string{
		"OOM command not allowed when used memory > 'maxmemory'.",
		"ERR Error running script: OOM command not allowed when used memory > 'maxmemory'.",
		"NOAUTH Authentication required.",
		"NOPERM User w has no permissions to run the 'evalsha' command",
		"WRONGPASS invalid username-password pair or user is disabled.",
		"ERR The user executing the script can't run this command or subcommand script: x",
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeFleet{}
			w := newWorker(t, f, 1, map[string]Handler{"t": func(context.Context, *Job) Result {
				f.refuse(refusing(20, reply))
				return Result{Value: []byte("1")}
			}})
			deliver(t, w, f.task("a", nil))
			time.Sleep(5 * time.Minute)
			if got := f.list("settle"); len(got) != 21 || w.Stats().Ended[record.Succeeded] != 1 {
				t.Errorf("%s: told %d times, %+v", reply, len(got), w.Stats())
			}
			if err := w.Drain(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestDrainNamesWhatWasRefused(t *testing.T) {
	final := refusing(1<<10, "ERR wrong number of arguments")
	for name, end := range map[string]func() Result{
		"settle":   func() Result { return Result{Value: []byte("1")} },
		"retry":    func() Result { return failed("error", "") },
		"giveback": nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fakeFleet{}
			w := newWorker(t, f, 1, map[string]Handler{"t": func(ctx context.Context, j *Job) Result {
				f.refuse(final)
				if end == nil {
					return untilDone(ctx, j)
				}
				return end()
			}})
			deliver(t, w, f.task("a", options(record.Options{Retries: 3})))
			synctest.Wait()
			if end != nil {
				time.Sleep(time.Minute)
			}
			if err := w.Drain(); err == nil || !strings.Contains(err.Error(), " 1 deliveries") {
				t.Errorf("Drain = %v, want one delivery named", err)
			}
			if n := len(f.list(name)); n == 0 || n > refusals {
				t.Errorf("%s was tried %d times, want up to %d", name, n, refusals)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		f.gather(3, "t")
		w := newWorker(t, f, 3, map[string]Handler{"t": func(context.Context, *Job) Result {
			f.refuse(final)
			return Result{Value: []byte("1")}
		}})
		deliver(t, w, ticket)
		time.Sleep(time.Minute)
		if err := w.Drain(); err == nil {
			t.Error("Drain = nil, though no end of the range was told")
		}
	})
}

func TestWhatIsNeitherClaimedNorBackComesAgain(t *testing.T) {
	final := refusing(refusals, "ERR no")
	two := record.Delivery{Refs: []record.Ref{{ID: "a", Number: 7}, {ID: "b", Number: 7}}}
	for _, c := range []struct {
		name    string
		message record.Delivery
		stop    bool
		runs    uint64
	}{
		{name: "a task that cannot be claimed", message: record.Delivery{Refs: two.Refs[:1]}},
		{name: "a rest that does not go back", message: two, runs: 1},
		{name: "a hand-back during the drain", message: two, stop: true},
		{name: "a ticket that cannot be claimed", message: ticket},
		{name: "a ticket during the drain", message: ticket, stop: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFleet{}
				f.task("a", nil)
				f.task("b", nil)
				f.gather(1, "t")
				w := newWorker(t, f, 1, map[string]Handler{"t": func(context.Context, *Job) Result { return Result{} }})
				w.cfg.Groups = deafGroups{fakeGroups{f}}
				if c.stop {
					w.Stop()
				}
				f.refuse(final)
				if err := tryDeliver(t, w, c.message.Encode()); err == nil {
					t.Error("it would be acknowledged")
				}
				synctest.Wait()
				if n := w.cfg.Slots.Free(); n != 1 || w.Stats().Started != c.runs {
					t.Errorf("%d slots free of 1, %d runs, want %d", n, w.Stats().Started, c.runs)
				}
				if err := w.Drain(); err != nil {
					t.Errorf("Drain = %v, though it holds nothing", err)
				}
			})
		})
	}
}

// deafGroups refuses pulls, too.
type deafGroups struct{ fakeGroups }

func (g deafGroups) Next(ctx context.Context, worker string, t record.Ticket, nonce string, want, share int, done *group.Ends) (group.Pull, record.Settled, error) {
	g.mu.Lock()
	err := g.answer()
	g.mu.Unlock()
	if err != nil {
		return group.Pull{}, record.Settled{}, err
	}
	return g.fakeGroups.Next(ctx, worker, t, nonce, want, share, done)
}
