package integration

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"github.com/gatherq/gatherq/integration/history"
	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// cuttable is a way to Redis on which nothing arrives while it is cut. As on a real wire the connections stand meanwhile, and what was
// sent arrives when it is mended.
type cuttable struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
}

func startCuttable(t *testing.T, target string) *cuttable {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "redis", "127.0.0.1:0", target)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &cuttable{t, p}
}

// URL is where a program finds its Redis.
func (c *cuttable) URL() string { return "redis://" + c.proxy.Listen + "/0" }

// toxic does something to one direction, "upstream" to Redis or "downstream" from it.
func (c *cuttable) toxic(direction, kind, attributes string) {
	c.t.Helper()
	if _, err := c.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(
		`{"name": "%s %s", "type": %q, "stream": %q, "attributes": {%s}}`, kind, direction, kind, direction, attributes))); err != nil {
		c.t.Fatal(err)
	}
}

// cut holds what goes in these directions.
func (c *cuttable) cut(directions ...string) {
	c.t.Helper()
	for _, d := range directions {
		c.toxic(d, "latency", `"latency": 3600000`)
	}
}

// mend takes all of it away.
func (c *cuttable) mend() { c.proxy.Toxics.ResetToxics(context.Background()) }

// turn ends all connections and leads to another server from now on.
func (c *cuttable) turn(target string) {
	c.t.Helper()
	if err := c.proxy.Update(&toxiproxy.Proxy{Listen: c.proxy.Listen, Upstream: target, Enabled: true}); err != nil {
		c.t.Fatal(err)
	}
}

// A worker is cut off from Redis. 3 s are nobody's death: nothing runs again. Longer ones are: what it held runs elsewhere, has one
// outcome, and when the cut is over its own handlers end as fenced. Answers alone that do not arrive leave its beats as they are, so
// that either may happen. GATHERQ_LONG=1 cuts for 25, 40 and 120 s; else it is 20 s, both directions.
func TestDecision02_ACutWire(t *testing.T) {
	t.Parallel()
	all := os.Getenv("GATHERQ_LONG") != ""
	for name, directions := range map[string][]string{"both": {"upstream", "downstream"}, "to Redis": {"upstream"}, "from Redis": {"downstream"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Local(t)
			var long []time.Duration
			switch {
			case all:
				long = []time.Duration{25 * time.Second, 40 * time.Second, 2 * time.Minute}
			case len(directions) == 2:
				long = []time.Duration{20 * time.Second}
			}
			t.Run("3s", func(t *testing.T) {
				t.Parallel()
				cutOff(t, s, 3*time.Second, false, directions)
			})
			for _, d := range long {
				t.Run(d.String(), func(t *testing.T) {
					t.Parallel()
					cutOff(t, s, d, true, directions)
				})
			}
		})
	}
}

func cutOff(t *testing.T, s *redistest.Server, d time.Duration, dies bool, directions []string) {
	sc := newScene(t, s, fmt.Sprintf("cut.%s.%s", strings.Join(directions, "."), d))
	wire := startCuttable(t, sc.rdb.Options().Addr)
	sc.plan = plan{Prefix: "p", Singles: 2, Members: 5, Sleep: d + 2*time.Second, Hold: dies && directions[0] == "upstream", Limit: d + 3*patience}
	victim := act(t, part{Role: "worker", URL: wire.URL(), Namespace: sc.ns, History: sc.path, Concurrency: 16})
	<-victim.Ready
	done := sc.played()
	eventually(t, "all of it in hand", func() bool { return sc.running() == sc.plan.Singles+sc.plan.Members })
	sc.serve("default") // what becomes of it, this one runs

	cut := history.Event{Kind: history.Fault, Fault: fmt.Sprintf("cut %v %v", directions, d)}
	if dies {
		cut.Procs = []int{victim.cmd.Process.Pid}
	}
	op := sc.rec.Begin(cut)
	wire.cut(directions...)
	pause(t, d)
	wire.mend()
	op.End(history.OK, history.Event{})
	if err := <-done; err != nil {
		t.Errorf("the plan: %v", err)
	}
	if sc.plan.Hold {
		sc.fencedRuns(victim)
	}
	sc.drain(victim)
	sc.judge()
	again := sc.running() - sc.plan.Singles - sc.plan.Members
	if !dies && again != 0 || sc.plan.Hold && again == 0 {
		t.Errorf("%d ran again", again)
	}
	figure(t, "cut", map[string]any{"seconds": d.Seconds(), "directions": directions, "tasks": sc.plan.Singles + sc.plan.Members, "again": again, "passed": !t.Failed()})
}

// fencedRuns waits until all handlers of a worker that was taken for dead have ended, and wants all of them to know why.
func (s *scene) fencedRuns(victim *actor) {
	s.Helper()
	var causes []string
	eventually(s.T, "the end of the handlers of the one that was cut off", func() bool {
		events, err := history.Load(s.path)
		if err != nil {
			s.Fatal(err)
		}
		causes = nil
		for _, e := range events {
			if e.Kind == history.Run && e.Proc == victim.cmd.Process.Pid && e.Phase != history.Invoke {
				causes = append(causes, e.Err)
			}
		}
		return len(causes) >= s.plan.Singles+s.plan.Members
	})
	for _, cause := range causes {
		if !strings.Contains(cause, string(jobs.ErrFenced)) {
			s.Errorf("a handler ended with %q, want fenced", cause)
		}
	}
}
