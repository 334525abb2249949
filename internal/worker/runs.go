package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// runs is what this worker holds: from the start of a handler, and from the pull of a range, to the record's answer about its end.
type runs struct {
	mu       sync.Mutex
	held     map[*run]struct{} // but for those that ranges hold
	ranges   map[*openRange]struct{}
	pumps    map[*pump]struct{}
	hands    map[string]*hand // of the pumps, by group
	draining atomic.Bool      // what comes now goes back at once
}

// add enters a run; true means that the drain is at its end and the handler must not begin.
func (s *runs) add(r *run) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = make(map[*run]struct{})
	}
	s.held[r] = struct{}{}
	return s.draining.Load()
}

func (s *runs) remove(r *run) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, r)
}

func (s *runs) open(o *openRange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ranges == nil {
		s.ranges = make(map[*openRange]struct{})
	}
	s.ranges[o] = struct{}{}
}

func (s *runs) close(o *openRange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.ranges, o)
}

// last returns all runs. Those that come later do not begin.
func (s *runs) last() []*run {
	s.draining.Store(true)
	all := s.alone()
	for _, o := range s.openRanges() {
		all = o.running(all)
	}
	return all
}

// alone returns the runs that are not a range's.
func (s *runs) alone() []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.held))
}

func (s *runs) openRanges() []*openRange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.ranges))
}

// size returns how many runs there are that the record has not answered about.
func (s *runs) size() int {
	n := len(s.alone())
	for _, o := range s.openRanges() {
		n += o.unanswered()
	}
	return n
}

// Ask asks the records about what this worker holds, and passes on what they say: ends that were requested, deliveries that are
// in other hands. It goes with each beat, in case a notice was lost.
func (w *Worker) Ask(ctx context.Context) error {
	alone := make(map[record.Ref]*run)
	for _, r := range w.runs.alone() {
		if r.of == nil {
			alone[record.Ref{ID: r.job.ID, Number: r.number}] = r
		}
	}
	if len(alone) > 0 {
		flags, err := w.cfg.Records.Flags(ctx, w.cfg.ID, slices.Collect(maps.Keys(alone))...)
		if err != nil {
			return fmt.Errorf("flags: %w", err)
		}
		for _, f := range flags {
			if r := alone[f.Ref]; r != nil && f.Fenced {
				r.fence()
			} else if r != nil && r.requestCancel(f.Reason) {
				w.count.unheard.Add(1)
			}
		}
	}
	open := w.runs.openRanges()
	if len(open) == 0 {
		return nil
	}
	ranges := make([]*group.Range, len(open))
	for i, o := range open {
		ranges[i] = o.r
	}
	flags, err := w.cfg.Groups.Flags(ctx, w.cfg.ID, ranges...)
	if err != nil {
		return fmt.Errorf("flags of ranges: %w", err)
	}
	for i, f := range flags {
		switch {
		case f.Fenced:
			open[i].stop(nil)
		case f.Reason != nil && open[i].stop(f.Reason):
			w.count.unheard.Add(1)
		}
		for index, reason := range f.Members {
			if open[i].stopMember(index, reason) {
				w.count.unheard.Add(1)
			}
		}
	}
	return nil
}

// Notice passes on a message from this worker's inbox: a task, a member or a whole range is to end.
func (w *Worker) Notice(n record.Notice) {
	if n.Kind != 'c' {
		return
	}
	open := w.runs.openRanges()
	if rest, ok := strings.CutPrefix(n.ID, "x|"); ok {
		for _, o := range open {
			if rest == fmt.Sprintf("%s|%d", o.r.Group, o.r.ID) && n.Number == o.r.Number {
				w.stopGroup(o.r.Group, open, n.Reason)
				return
			}
		}
		return
	}
	for _, r := range w.runs.alone() {
		if r.of == nil && r.job.ID == n.ID && r.number == n.Number {
			r.requestCancel(n.Reason)
		}
	}
	if gid, index, ok := keys.SplitMember(n.ID); ok {
		for _, o := range open {
			if o.r.Group == gid && n.Number == o.r.Number && index >= o.r.From && index < o.r.To {
				o.stopMember(index, n.Reason)
			}
		}
	}
}

// stopGroup passes on that a whole group is to end. Each of its ranges is told so, but what one of them frees must not start a member of
// the next.
func (w *Worker) stopGroup(gid string, open []*openRange, reason *record.Failure) {
	theirs := slices.DeleteFunc(open, func(o *openRange) bool { return o.r.Group != gid })
	for _, o := range theirs {
		o.mark(reason)
	}
	for _, o := range theirs {
		o.stop(reason)
	}
}
