package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/group"
)

// What is packed on several cores is what a sequence is packed to, member by member.
func TestGatherIsGatherSeq(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		const n = 5*packBlock + 17
		calls := numbers(n)
		calls[3*packBlock+5] = sum.Call(args(`"named"`), ID("named"))
		calls[7] = sum.Call(args(`"elsewhere"`), Queue("elsewhere"))
		if _, err := Gather(t.Context(), c, calls, ID("g")); err != nil {
			t.Fatal(err)
		}
		if _, err := GatherSeq[int](t.Context(), c, slices.Values(calls), ID("g")); err != nil {
			t.Errorf("the same calls, one by one: %v", err)
		}
		calls[2*packBlock] = sum.Call(args(`"another"`))
		if _, err := Gather(t.Context(), c, calls, ID("g")); !errors.Is(err, ErrConflict) {
			t.Errorf("another call in the middle: %v", err)
		}
		for i := 0; i < n; i += 600 {
			if s := inspect(t, GroupByID[int](c, "g").Member(i)).State; s != StatePending {
				t.Fatalf("member %d: %s", i, s)
			}
		}
		if s := inspect(t, TaskByID[int](c, "named")).State; s != StatePending {
			t.Errorf("the call with an ID of its own: %s", s)
		}
	})
}

// What is not kept is packed once more, the same.
func TestPackingWithoutRoom(t *testing.T) {
	c := newClient(t, unreachable(t), ClientConfig{})
	calls := numbers(3*packBlock + 1)
	pack := func(keep int64) (sizes []int) {
		g, err := newGathering(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		p := &packing{g: g, n: len(calls), at: partsOf[int](calls), queue: "default", keep: keep}
		if err := p.run(t.Context()); err != nil {
			t.Fatal(err)
		}
		kept := 0
		for _, b := range p.blocks {
			if b != nil {
				kept++
			}
		}
		if want := map[bool]int{true: 4}[keep > 0]; kept != want {
			t.Fatalf("%d blocks are kept of %d bytes", kept, keep)
		}
		if err := p.each(t.Context(), func(b *group.Packed) error {
			sizes = append(sizes, b.Bytes())
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		return sizes
	}
	if with, without := pack(packKept), pack(0); len(with) != 4 || !slices.Equal(with, without) {
		t.Errorf("%v with room, %v without", with, without)
	}
}

// scripted encodes as it is told to.
type scripted func() error

func (s scripted) MarshalJSON() ([]byte, error) { return []byte("1"), s() }

func TestGatherRefusesTheFirstBadCall(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("one block is packed at a time here")
	}
	c := newClient(t, unreachable(t), ClientConfig{})
	def := Define[scripted, int]("scripted")
	wait := func(what string, until func() bool) { eventually(t, what, until) }
	for _, laterIsFirst := range []bool{true, false} {
		g, err := newGathering(c, nil)
		if err != nil {
			t.Fatal(err)
		}
		calls := make([]Call[int], 2*packBlock)
		for i := range calls {
			calls[i] = def.Call(func() error { return nil })
		}
		p := &packing{g: g, n: len(calls), at: partsOf[int](calls), queue: "default", keep: packKept}
		second := make(chan struct{}) // its packing has begun
		early, late := 3, 2*packBlock-1
		calls[early] = def.Call(func() error {
			<-second
			if laterIsFirst {
				wait("the second block is refused", func() bool { return p.before(2) })
			}
			return errors.New("bad")
		})
		calls[packBlock] = def.Call(func() error {
			close(second)
			return nil
		})
		calls[late] = def.Call(func() error {
			if !laterIsFirst {
				wait("the first block is refused", func() bool { return p.before(1) })
			}
			return errors.New("bad")
		})
		err = p.run(t.Context())
		if r, ok := errors.AsType[*RejectedError](err); !ok || r.Index != early || r.Field != "args" {
			t.Errorf("later one first %v: %+v", laterIsFirst, err)
		}
	}
}

// brittle panics where it is told to.
type brittle int

func (b brittle) MarshalJSON() ([]byte, error) {
	if b < 0 {
		panic("brittle")
	}
	return json.Marshal(int(b))
}

func TestAPanicOfTheCallersReachesTheCaller(t *testing.T) {
	onRedis(t, func(t *testing.T, rdb *redis.Client) {
		c := newClient(t, rdb, ClientConfig{})
		def := Define[brittle, int]("brittle")
		calls := make([]Call[int], 6*packBlock)
		for at := range 6 {
			for i := range calls {
				calls[i] = def.Call(brittle(i))
			}
			calls[at*packBlock+at] = def.Call(-1)
			before := keysNow(t, rdb)
			func() {
				defer func() {
					if v := recover(); v != "brittle" {
						t.Errorf("block %d: recovered %v", at, v)
					}
				}()
				_, err := Gather(context.WithoutCancel(t.Context()), c, calls)
				t.Errorf("block %d: %v", at, err)
			}()
			if after := keysNow(t, rdb); !slices.Equal(before, after) {
				t.Errorf("block %d: %v is left", at, after)
			}
		}
	})
}
