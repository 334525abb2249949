package worker

import "fmt"

// take enters a ticket in this worker's hands.
func (s *runs) take(p *pump) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pumps == nil {
		s.pumps = make(map[*pump]struct{})
	}
	s.pumps[p] = struct{}{}
	if s.hands == nil {
		s.hands = make(map[string]*hand)
	}
	p.hand = s.hands[p.ticket.Group]
	if p.hand == nil {
		p.hand = &hand{}
		s.hands[p.ticket.Group] = p.hand
	}
	p.hand.add(p)
}

func (s *runs) drop(p *pump) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pumps, p)
	if p.hand.remove(p) == 0 {
		delete(s.hands, p.ticket.Group)
	}
}

// Holdings returns all that this worker knows that it holds, named as the records do: tasks' IDs, "x|group|range",
// "t|group|ticket". What is on its way between a claim and its answer is not in it.
func (w *Worker) Holdings() map[string]struct{} {
	s := &w.runs
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]struct{}, len(s.held)+len(s.ranges)+len(s.pumps))
	for r := range s.held {
		if r.of == nil {
			out[r.job.ID] = struct{}{}
		}
	}
	for o := range s.ranges {
		out[fmt.Sprintf("x|%s|%d", o.r.Group, o.r.ID)] = struct{}{}
	}
	for p := range s.pumps {
		out[fmt.Sprintf("t|%s|%d", p.ticket.Group, p.ticket.Place)] = struct{}{}
	}
	return out
}
