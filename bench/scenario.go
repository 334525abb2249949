package bench

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatherq/gatherq/bench/report"
)

// scenario is what is measured together: its sides take turns, round by round.
type scenario struct {
	name  string
	once  bool // one round and none that does not count: what is counted does not swing like what is timed
	sides []side
}

// side is one thing that is measured: a reference or a candidate.
type side struct {
	name  string
	n     int           // operations of a round
	jobs  []job         // its worker processes
	fresh bool          // that are new in each round
	after bool          // it goes on with the processes of the side before it
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

// measure runs all rounds of a scenario. A side's processes work while it is measured and rest while others are.
func (s *session) measure(sc scenario, emit func(report.Sample)) error {
	processes := make([][]*process, len(sc.sides))
	defer func() {
		for _, all := range processes {
			stopAll(all)
		}
	}()
	rounds, first := s.cfg.Rounds, 0
	if sc.once {
		rounds, first = 1, 1
	}
	for number := first; number <= rounds; number++ {
		for i, sd := range sc.sides {
			if sd.fresh {
				stopAll(processes[i])
				processes[i] = nil
			}
			if sd.after {
				processes[i], processes[i-1] = processes[i-1], nil
			}
			values, workers, err := s.measureSide(sd, &processes[i])
			if err != nil {
				return fmt.Errorf("%s, %s, round %d: %w", sc.name, sd.name, number, err)
			}
			if number == 0 {
				s.cfg.Progress(fmt.Sprintf("%s: %s is warm", sc.name, sd.name))
				continue
			}
			sample := report.Sample{Scenario: sc.name, Side: sd.name, Round: number, N: sd.n, Workers: workers, Values: values}
			emit(sample)
			s.cfg.Progress(fmt.Sprintf("%s: %s, round %d of %d: %s", sc.name, sd.name, number, rounds, sample.Brief()))
		}
	}
	return nil
}

func (s *session) measureSide(sd side, processes *[]*process) (values map[string]float64, workers []int, err error) {
	limit := sd.limit
	if limit == 0 {
		limit = roundLimit
	}
	ctx, cancel := context.WithTimeoutCause(s.ctx, limit, fmt.Errorf("not done within %v", limit))
	defer cancel()
	if *processes == nil && len(sd.jobs) > 0 {
		if *processes, err = s.start(sd.jobs...); err != nil {
			return nil, nil, err
		}
	}
	if err := askAll(ctx, *processes, orderWork); err != nil {
		return nil, nil, err
	}
	r := &round{session: s, ctx: ctx, workers: *processes, values: make(map[string]float64)}
	r.window = &window{rdb: s.rdb, workers: r.workers}
	if err := r.end(sd.run); err != nil {
		return nil, nil, err
	}
	if !r.window.opened.IsZero() {
		for name, value := range r.window.values(sd.n) {
			if _, ok := r.values[name]; !ok {
				r.values[name] = value
			}
		}
	}
	for _, p := range *processes {
		workers = append(workers, p.command.Process.Pid)
	}
	if err := askAll(ctx, *processes, orderRest); err != nil {
		return nil, nil, err
	}
	if err := s.keys.settleDown(ctx, s.rdb); err != nil {
		return nil, nil, err
	}
	return r.values, workers, s.keys.removeRound(ctx, s.rdb)
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
