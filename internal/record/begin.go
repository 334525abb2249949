package record

import "context"

// Suspect is how many crashes make a task a suspect: one that may have killed its workers. It runs alone, and only as
// such a crash can end it.
const Suspect = 2

// Begin notes that the handler of a suspect begins: it waited for its turn since the claim, and a death of its worker before this
// is not charged to it. False: somebody else holds the task, or it has ended.
func (s *Store) Begin(ctx context.Context, worker string, ref Ref) (bool, error) {
	r := s.run(ctx, beginScript, s.keys.PrefixOf(ref.ID), ref.ID, ref.Number, worker)
	return r.Str() == "ok", r.Err
}
