package fleet

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/record"
)

// inShard returns an ID of a shard.
func (l *loss) inShard(name string, shard int) string {
	for i := 0; ; i++ {
		if id := fmt.Sprintf("%s%d", name, i); l.keys.PrefixOf(id) == l.keys.Prefix(shard) {
			return id
		}
	}
}

// Somebody has written to records by hand: what cannot be read is named, and holds up nothing of its shard.
func TestRubbishInARecordHoldsUpNoOther(t *testing.T) {
	onLoss(t, func(l *loss) {
		ctx := l.Context()
		other, bare, odd, group, numbers, ticket := l.inShard("other", 0), l.inShard("bare", 0), l.inShard("odd", 0), l.inShard("group", 0), l.inShard("numbers", 0), l.inShard("ticket", 0)
		good := l.inShard("good", 0)
		l.ok(l.rdb.Set(ctx, l.keys.Record(other), "rubbish", 0).Err())
		l.ok(l.rdb.HSet(ctx, l.keys.Record(bare), "k", "t").Err())
		l.ok(l.rdb.HSet(ctx, l.keys.Record(odd), "k", "?").Err())
		l.ok(l.rdb.HSet(ctx, l.keys.Record(group), "k", "g").Err())
		l.ok(l.rdb.HSet(ctx, l.keys.Record(numbers), "k", "t", "s", "pending", "q", "q", "n", "many").Err())
		l.ok(l.rdb.HSet(ctx, l.keys.Record(ticket), "t0", "rubbish").Err())
		bad := []string{other, bare, group, numbers, "#0:" + ticket}
		for _, id := range append(bad, odd) {
			l.ok(l.rdb.ZAdd(ctx, l.keys.Open(0), redis.Z{Score: 1, Member: id}).Err())
		}
		_, err := l.records.Create(ctx, newTask(good, "q"))
		l.ok(err)
		l.ok(l.rdb.ZAdd(ctx, l.keys.Open(0), redis.Z{Score: 2, Member: good}).Err())

		d, err := l.records.Due(ctx, 0, 100)
		l.ok(err)
		slices.Sort(bad)
		slices.Sort(d.Broken)
		if !slices.Equal(d.Broken, bad) || len(d.HandOvers) != 1 || d.HandOvers[0].Delivery.Refs[0].ID != good {
			l.Fatalf("broken %v, want %v; handed over %+v", d.Broken, bad, d.HandOvers)
		}
		again, err := l.records.Due(ctx, 0, 100)
		l.ok(err)
		if len(again.Broken)+len(again.HandOvers)+len(again.Groups) > 0 {
			l.Errorf("a second look took %+v", again)
		}

		l.ok(l.carrier.HandOver(ctx, l.records, d.HandOvers))
		_, err = l.asynq.DeleteAllPendingTasks("ns:q")
		l.ok(err)
		l.pass(map[Repair]uint64{RepairVanished: 1})
		if in := l.look(good); in.State != record.Pending || in.Number != 3 || l.deliveries()[good] != 3 {
			l.Errorf("%+v, in the queue %v", in, l.deliveries())
		}
	})
}

// A shard that cannot be looked through is named; the others are looked through, and before it the next time.
func TestAShardThatFailsHoldsUpNoOther(t *testing.T) {
	for shard := range 2 {
		t.Run(fmt.Sprint(shard), func(t *testing.T) {
			onLoss(t, func(l *loss) {
				good := l.inShard("good", 1-shard)
				l.create(good)
				_, err := l.asynq.DeleteAllPendingTasks("ns:q")
				l.ok(err)
				l.ok(l.rdb.Set(l.Context(), l.keys.Open(shard), "rubbish", 0).Err())
				if err := l.looks.Pass(l.Context()); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("shard %d: ", shard)) {
					l.Errorf("the pass says %v", err)
				}
				l.wantAgain(good)
				if got, want := l.looks.order(), []int{1 - shard, shard}; !slices.Equal(got, want) {
					l.Errorf("the next pass goes through %v, want %v", got, want)
				}
				l.ok(l.rdb.Del(l.Context(), l.keys.Open(shard)).Err())
				l.ok(l.looks.Pass(l.Context()))
				if got, want := l.looks.order(), []int{0, 1}; !slices.Equal(got, want) {
					l.Errorf("after a pass that did not fail: %v, want %v", got, want)
				}
			})
		})
	}
}

// What Redis refuses is no rubbish: the look fails as a whole, and nothing is put off.
func TestARightThatIsMissingIsNoRubbish(t *testing.T) {
	s := redistest.Local(t)
	rdb := s.Client(t)
	l := newLoss(t, rdb)
	id := l.inShard("good", 0)
	_, err := l.records.Create(l.Context(), newTask(id, "q"))
	l.ok(err)
	l.ok(rdb.ZAdd(l.Context(), l.keys.Open(0), redis.Z{Score: 1, Member: id}).Err())
	l.ok(rdb.Do(l.Context(), "ACL", "SETUSER", "half", "on", ">half", "~*", "&*", "+@all", "-hget").Err())
	mine := *rdb.Options()
	mine.Username, mine.Password = "half", "half"
	half := redis.NewClient(&mine)
	t.Cleanup(func() { half.Close() })
	records := record.NewStore(conn.New(half, slog.New(slog.DiscardHandler)), l.keys)
	if d, err := records.Due(l.Context(), 0, 100); err == nil || !strings.Contains(err.Error(), "can't run this command") {
		l.Errorf("a look without the right to HGET took %+v, %v", d, err)
	}
	if at := rdb.ZScore(l.Context(), l.keys.Open(0), id).Val(); at != 1 {
		l.Errorf("it is put off to %v", at)
	}
}
