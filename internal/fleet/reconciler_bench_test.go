package fleet

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

// BenchmarkReconcilerPass is a pass over a backlog in which nothing is lost: what it costs Redis and how long it takes.
func BenchmarkReconcilerPass(b *testing.B) {
	sizes := []int{1_000}
	if os.Getenv("GATHERQ_LONG") != "" {
		sizes = []int{10_000, 100_000} // seconds a pass
	}
	for _, tasks := range sizes {
		for _, each := range []int{1, 16} {
			b.Run(fmt.Sprintf("%d pending, %d in a message", tasks, each), func(b *testing.B) { benchPass(b, tasks, each) })
		}
	}
}

func benchPass(b *testing.B, tasks, each int) {
	ctx := context.Background()
	s := redistest.Local(b)
	rdb := s.Client(b)
	c, k := conn.New(rdb, slog.New(slog.DiscardHandler)), keys.New("ns", 1)
	records := record.NewStore(c, k)
	cr := carrier.New(c, k, nobody)
	ok := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	for at := 0; at < tasks; {
		var batch []record.NewTask
		var hs []record.HandOver
		for range 512 / each {
			h := record.HandOver{Queue: "q", Alone: true}
			for range each {
				id := fmt.Sprintf("t:0193%028x", at)
				at++
				batch = append(batch, newTask(id, "q"))
				h.Delivery.Refs = append(h.Delivery.Refs, record.Ref{ID: id, Number: 1})
			}
			hs = append(hs, h)
		}
		_, err := records.Create(ctx, batch...)
		ok(err)
		ok(cr.HandOver(ctx, records, hs))
	}
	var repairs Repairs
	r := NewReconciler(ReconcilerConfig{
		Conn: c, Keys: k, Records: records, Groups: group.NewStore(records), Carrier: cr, Outbox: NewOutbox(OutboxConfig{}),
		Repairs: &repairs, Log: slog.New(slog.DiscardHandler),
	})
	ok(rdb.ConfigSet(ctx, "slowlog-log-slower-than", "0").Err())
	ok(rdb.ConfigSet(ctx, "slowlog-max-len", "100000").Err())
	ok(rdb.ConfigResetStat(ctx).Err())
	ok(rdb.Do(ctx, "slowlog", "reset").Err())
	before := cpu(b, rdb)
	for range b.N {
		ok(r.Pass(ctx))
	}
	used := cpu(b, rdb) - before
	if n := repairs.Counts()[RepairVanished]; n > 0 {
		b.Errorf("%d deliveries were lost", n)
	}
	slow, err := rdb.SlowLogGet(ctx, 100000).Result()
	ok(err)
	var most time.Duration
	for _, l := range slow {
		if len(l.Args) > 0 && l.Args[0] != "slowlog" {
			most = max(most, l.Duration)
		}
	}
	stats := rdb.Info(ctx, "commandstats").Val()
	calls := 0
	for line := range strings.Lines(stats) {
		for _, name := range []string{"cmdstat_evalsha:", "cmdstat_zscan:"} {
			var n int
			if rest, found := strings.CutPrefix(line, name); found {
				_, _ = fmt.Sscanf(rest, "calls=%d", &n)
				calls += n
			}
		}
	}
	b.ReportMetric(float64(calls)/float64(b.N), "commands/op")
	b.ReportMetric(float64(used.Milliseconds())/float64(b.N), "redis-ms/op")
	b.ReportMetric(float64(most.Microseconds())/1000, "slowest-ms")
}

// cpu is the time that Redis' main thread has worked.
func cpu(b *testing.B, rdb *redis.Client) (used time.Duration) {
	for line := range strings.Lines(rdb.Info(context.Background(), "cpu").Val()) {
		for _, name := range []string{"used_cpu_sys_main_thread:", "used_cpu_user_main_thread:"} {
			var s float64
			if rest, found := strings.CutPrefix(line, name); found {
				_, _ = fmt.Sscanf(rest, "%g", &s)
				used += time.Duration(s * float64(time.Second))
			}
		}
	}
	return used
}
