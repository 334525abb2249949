package group

import (
	"slices"
	"testing"

	"github.com/gatherq/gatherq/internal/record"
)

// Awaits share looks, not what is wrong with one of them.
func TestDecision07_ABadAnswerIsThatOfItsOwnAwait(t *testing.T) {
	each(t, func(f *fixture) {
		rdb := f.conn.Redis()
		for _, id := range []string{"a", "b"} {
			f.create(id)
			f.end(id, record.Succeeded, "1")
		}
		f.gather("g", 1) // whose results do not parse
		f.ok(rdb.SetRange(f.ctx, f.keys.Map("g", 0), 0, "\x00\x00\x00\x01").Err())
		f.ok(rdb.HSet(f.ctx, f.keys.Results("g", 0), "1", "x").Err())
		f.ok(rdb.Set(f.ctx, f.keys.Record("text"), "x", 0).Err()) // no record: the script fails
		look := func(ids ...string) {
			f.Helper()
			var in []record.Interest
			var bad []int
			for i, id := range ids {
				in = append(in, record.Interest{ID: id, View: record.Whole})
				if id == "g:0" || id == "text" {
					bad = append(bad, i)
				}
			}
			answers, missing, err := f.records.WatchOnce(f.ctx, "me", in)
			if !slices.Equal(missing, bad) || (err != nil) != (len(bad) > 0) {
				f.Errorf("of %q %v failed, %v", ids, missing, err)
			}
			var places []int
			for _, a := range answers {
				places = append(places, a.Place)
				if a.Status != record.HasEnded || a.Outcome.ID != ids[a.Place] {
					f.Errorf("%+v", a)
				}
			}
			if len(places)+len(bad) != len(ids) || !slices.IsSorted(places) {
				f.Errorf("of %q these are answered: %v", ids, places)
			}
		}
		look("a", "g:0", "b")
		look("a", "text", "b")
		look("a", "text", "g:0", "b", "a")
		look("g:0")
		look("text")
		look("a", "b")
	})
}
