package conn

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// heap is a joint whose command names its items.
type heap struct {
	name  string
	limit int
}

func (h heap) Limit(int) int { return h.limit }
func (h heap) Join(items []any) (*Call, error) {
	return NewCommand(append([]any{h.name}, items...)...), nil
}

func TestComposeKeepsTheOrderOfEachParcel(t *testing.T) {
	scripts := []*Script{NewItemScript("one", 1, "local function item(a) return a end"), NewItemScript("two", 2, "local function item(a, b) return a end")}
	plain := NewScript("plain", "return 1")
	rapid.Check(t, func(rt *rapid.T) {
		var batch []*parcel
		for p := range rapid.IntRange(1, 12).Draw(rt, "parcels") {
			next := &parcel{whole: rapid.IntRange(0, 4).Draw(rt, "whole") == 0, apart: rapid.IntRange(0, 6).Draw(rt, "apart") == 0}
			for i := range rapid.IntRange(1, 90).Draw(rt, "calls") {
				name := fmt.Sprint(p, "/", i)
				prefix := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "prefix")
				var c *Call
				switch rapid.IntRange(0, 4).Draw(rt, "kind") {
				case 0:
					c = NewCommand("get", name)
				case 1:
					c = NewCall(plain, prefix, name)
				case 2:
					c = NewCall(scripts[0], prefix, name)
				case 3:
					c = NewCall(scripts[1], prefix, name, make([]byte, rapid.SampledFrom([]int{1, 30 << 10}).Draw(rt, "bytes")))
				default:
					c = &Call{Joint: heap{prefix, 7}, Item: name, Weight: rapid.IntRange(0, 9).Draw(rt, "weight")}
				}
				c.measure()
				next.calls = append(next.calls, c)
			}
			batch = append(batch, next)
		}
		at := map[*Call]int{}
		for place, c := range compose(t.Context(), batch) {
			weight, bytes := 0, 0
			for _, call := range c.calls {
				if _, twice := at[call]; twice {
					rt.Fatal("a call is in two commands")
				}
				at[call] = place
				weight += max(call.Weight, 1)
				bytes += call.size
				if first := c.calls[0]; call.Joint != first.Joint || call.Script != first.Script || call.Script != nil && call.Keys[0] != first.Keys[0] {
					rt.Fatal("calls of different kinds are one command")
				}
			}
			if len(c.calls) > 1 {
				limit := mergeItems
				if c.calls[0].Joint != nil {
					limit = 7
				}
				if weight > limit || bytes > mergeBytes || c.calls[0].Script == plain || c.calls[0].Script == nil && c.calls[0].Joint == nil {
					rt.Fatalf("%d calls of weight %d and %d bytes in a command", len(c.calls), weight, bytes)
				}
			}
			args := c.cmd.Args()
			if want := "evalsha"; c.calls[0].Script != nil && args[0] != want && !(c.whole && args[0] == "eval") {
				rt.Fatalf("sent as %v", args[0])
			}
		}
		for _, p := range batch {
			last := -1
			for _, call := range p.calls {
				place, sent := at[call]
				if !sent || place < last {
					rt.Fatalf("a call was left out, or overtook one of its parcel: %d after %d", place, last)
				}
				if p.apart && place == last {
					rt.Fatal("merged, and should not be")
				}
				last = place
			}
		}
	})
}

func TestDepartures(t *testing.T) {
	t.Run("a flight takes what fits, in turn", func(t *testing.T) {
		d := &departures{}
		for i := range 5 {
			d.queue = append(d.queue, &parcel{calls: make([]*Call, 200), bytes: i})
		}
		d.queue[1].state = parcelBack
		var got [][]int
		for len(d.queue) > 0 {
			var bytes []int
			for _, p := range d.take() {
				bytes = append(bytes, p.bytes)
			}
			got = append(got, bytes)
		}
		if want := [][]int{{0, 2}, {3, 4}}; !slices.EqualFunc(got, want, slices.Equal) {
			t.Errorf("flights %v, want %v", got, want)
		}
	})
	t.Run("what is too large for any flies by itself", func(t *testing.T) {
		d := &departures{queue: []*parcel{{calls: make([]*Call, 3*flightCalls)}, {calls: make([]*Call, 1)}}}
		if batch := d.take(); len(batch) != 1 || len(d.queue) != 1 {
			t.Errorf("%d parcels, %d left", len(batch), len(d.queue))
		}
	})
}
