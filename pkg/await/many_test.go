package await_test

import (
	"errors"
	"strconv"
	"testing"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// A large group is read by several goroutines, which share what they read with nobody.
func TestManyMembers(t *testing.T) {
	each(t, func(t *testing.T, f *fleet) {
		const n = 4000
		ctx := t.Context()
		in := make([]int, n)
		for i := range in {
			in[i] = i
		}
		g := must[*jobs.Group[int]](t)(jobs.Gather(ctx, f.c, double.Calls(in...)))
		got := must[[]int](t)(await.All(ctx, g))
		outs := must[[]jobs.Outcome[int]](t)(await.Settled(ctx, g))
		values := must[[]jobs.Value](t)(await.All(ctx, jobs.GroupByID[jobs.Value](f.c, g.ID())))
		if len(got) != n || len(outs) != n || len(values) != n {
			t.Fatalf("%d values, %d outcomes, %d raw values", len(got), len(outs), len(values))
		}
		seen := make([]bool, n)
		for i := range n {
			raw, err := values[i].JSON()
			if err != nil || got[i] != 2*i || outs[i].Value != 2*i || outs[i].ID != g.ID()+":"+strconv.Itoa(i) || string(raw) != strconv.Itoa(2*i) {
				t.Fatalf("member %d: %d, %+v, %s, %v", i, got[i], outs[i], raw, err)
			}
			if o := outs[i].Order; o < 1 || o > n || seen[o-1] {
				t.Fatalf("member %d is the %d. that ended, twice or out of range", i, o)
			}
			seen[outs[i].Order-1] = true
		}
		_, err := await.All(ctx, jobs.GroupByID[string](f.c, g.ID()))
		e, _ := errors.AsType[*jobs.Error](err)
		if e == nil || e.Kind != jobs.ErrUndecodable || e.ID != g.ID()+":"+strconv.Itoa(e.Index) {
			t.Errorf("as strings: %#v", err)
		}
	})
}
