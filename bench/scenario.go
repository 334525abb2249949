package bench

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/gatherq/gatherq/bench/report"
)

// scenario is what is measured together: its sides take turns, round by round.
type scenario struct {
	name  string
	once  bool  // one round and none that does not count: what is counted does not swing like what is timed
	cold  bool  // no round that does not count: a round takes long, or counts all the same
	jobs  []job // worker processes that all sides share
	fresh bool  // those are new in each round
	sides []side
}

// side is one thing that is measured: a reference or a candidate.
type side struct {
	name  string
	n     int           // operations of a round
	jobs  []job         // worker processes of its own, which rest while other sides are measured
	alone bool          // those live only while it is measured: they would take the work of others
	limit time.Duration // of a round; 0 is roundLimit
	run   func(r *round) error
}

// roundLimit ends a round that hangs.
const roundLimit = 3 * time.Minute

// round is one round of one side.
type round struct {
	*session
	ctx     context.Context //nolint:containedctx // of this round: the session's, with a limit
	workers []*process
	window  *window
	values  map[string]float64 // beside those of the window
}

// set adds a value of the round.
func (r *round) set(name string, value float64) { r.values[name] = value }

// selectScenarios takes whole names, or their first words, of scenarios or sides, separated by commas: "gather" is all that begins with
// "gather-". An empty string selects all.
func selectScenarios(all []scenario, only string) ([]scenario, error) {
	if only == "" {
		return all, nil
	}
	var wanted, names []string
	for name := range strings.SplitSeq(only, ",") {
		wanted = append(wanted, strings.TrimSpace(name))
	}
	found := make([]bool, len(wanted))
	var selected []scenario
	for _, sc := range all {
		take := false
		for i, name := range wanted {
			if sc.named(name) {
				take, found[i] = true, true
			}
		}
		if take {
			selected = append(selected, sc)
		}
		names = append(names, sc.name)
	}
	if i := slices.Index(found, false); i >= 0 {
		return nil, fmt.Errorf("no measurement %q; there are: %s", wanted[i], strings.Join(names, ", "))
	}
	return selected, nil
}

func (sc scenario) named(name string) bool {
	is := func(whole string) bool {
		rest, ok := strings.CutPrefix(whole, name)
		return ok && name != "" && (rest == "" || rest[0] == '-' || rest[0] == ' ')
	}
	return is(sc.name) || slices.ContainsFunc(sc.sides, func(sd side) bool { return is(sd.name) })
}

// measure runs all rounds of a scenario.
func (s *session) measure(sc scenario, emit func(report.Sample)) (err error) {
	if s.client, err = newClient(s.rdb, s.keys, s.cfg.Stderr); err != nil {
		return err
	}
	defer s.client.Close()
	var shared []*process
	own := make([][]*process, len(sc.sides))
	defer func() { stopAll(slices.Concat(shared, slices.Concat(own...))) }()
	rounds, first := s.cfg.Rounds, 0
	if sc.once || sc.cold {
		first = 1
	}
	if sc.once {
		rounds = 1
	}
	for number := first; number <= rounds; number++ {
		if len(shared) == 0 {
			if shared, err = s.start(sc.jobs...); err != nil {
				return fmt.Errorf("%s: %w", sc.name, err)
			}
		}
		for i, sd := range sc.turns(number) {
			if len(own[i]) == 0 {
				if own[i], err = s.start(sd.jobs...); err != nil {
					return fmt.Errorf("%s, %s: %w", sc.name, sd.name, err)
				}
			}
			workers := slices.Concat(shared, own[i])
			values, err := s.measureSide(sd, workers)
			if err != nil {
				return fmt.Errorf("%s, %s, round %d: %w", sc.name, sd.name, number, err)
			}
			sample := report.Sample{Scenario: sc.name, Side: sd.name, Round: number, N: sd.n, Workers: pidsOf(workers), Values: values}
			if number == 0 {
				s.cfg.Progress(fmt.Sprintf("%s: %s, not counted: %s", sc.name, sd.name, sample.Brief()))
			} else {
				emit(sample)
				s.cfg.Progress(fmt.Sprintf("%s: %s, round %d of %d: %s", sc.name, sd.name, number, rounds, sample.Brief()))
			}
			if s.cfg.Profiles != "" && number == rounds {
				if err := s.profile(sc, sd, workers); err != nil {
					return fmt.Errorf("%s, %s, the round that is profiled: %w", sc.name, sd.name, err)
				}
			}
			if sd.alone {
				stopAll(own[i])
				own[i] = nil
			}
		}
		if sc.fresh {
			stopAll(shared)
			shared = nil
		}
	}
	return nil
}

// turns returns the sides in the order of a round: every second one from behind, so that none is always the first. Where workers are new in
// each round the order says how warm they are.
func (sc scenario) turns(round int) iter.Seq2[int, side] {
	if round%2 == 0 && !sc.fresh {
		return slices.Backward(sc.sides)
	}
	return slices.All(sc.sides)
}

// measureSide runs one round. The processes work meanwhile, and rest after it.
func (s *session) measureSide(sd side, workers []*process) (map[string]float64, error) {
	limit := cmp.Or(sd.limit, roundLimit)
	ctx, cancel := context.WithTimeoutCause(s.ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	if err := askAll(ctx, workers, orderWork); err != nil {
		return nil, err
	}
	r := &round{session: s, ctx: ctx, workers: workers, values: make(map[string]float64)}
	r.window = &window{rdb: s.rdb, workers: workers}
	if err := r.end(sd.run); err != nil {
		return nil, err
	}
	if !r.window.opened.IsZero() {
		for name, value := range r.window.values(sd.n) {
			if _, ok := r.values[name]; !ok {
				r.values[name] = value
			}
		}
	}
	if err := askAll(ctx, workers, orderRest); err != nil {
		return nil, err
	}
	if err := s.keys.settleDown(ctx, s.rdb); err != nil {
		return nil, err
	}
	return r.values, s.keys.removeRound(ctx, s.rdb)
}

// end runs a round to its end, or to that of its context: not everything that waits on Redis listens to a context.
func (r *round) end(run func(*round) error) error {
	done := make(chan error, 1)
	go func() { done <- run(r) }()
	select {
	case err := <-done:
		if err != nil && r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		return err
	case <-r.ctx.Done():
		r.session.cancel(context.Cause(r.ctx)) // which closes the client
		<-done
		return context.Cause(r.ctx)
	}
}

// askAll gives all processes the same order at once.
func askAll(ctx context.Context, all []*process, o order) error {
	return forEach(len(all), max(len(all), 1), func(i int) error {
		_, err := all[i].ask(ctx, o)
		return err
	})
}

func pidsOf(all []*process) (pids []int) {
	for _, p := range all {
		pids = append(pids, p.command.Process.Pid)
	}
	return pids
}
