package fleet

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
)

// Beats are under way at the same time. An answer that a later one has overtaken says nothing, least of all that Redis went back; one
// whose beat left after the last answer came does.
func TestDecision20_AnAnswerThatWasOvertakenIsNoRedisThatWentBack(t *testing.T) {
	rdb, c := start(t)
	k := keys.New("n", 1)
	told := 0
	repairs := &Repairs{}
	b := beatOf(c, k, "w", func(cfg *BeatConfig) { cfg.Told, cfg.Repairs = func(Errands) { told++ }, repairs })
	send := func(p *pulse) {
		p.Sent = time.Now()
		if err := c.All(t.Context(), p.call); err != nil {
			t.Fatal(err)
		}
	}
	take := func(p *pulse) {
		p.Answered = time.Now()
		if _, err := b.take(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	first, second := b.next(), b.next()
	send(first)
	send(second)
	take(second)
	take(first)
	if told != 1 || repairs.Counts()[RepairRollback] != 0 || b.mark != 2 {
		t.Errorf("%d answers counted, %d rewinds, mark %d", told, repairs.Counts()[RepairRollback], b.mark)
	}
	rdb.HSet(t.Context(), k.Meta(), "mark", 0)
	third := b.next()
	send(third)
	take(third)
	b.wg.Wait()
	if told != 2 || repairs.Counts()[RepairRollback] != 1 || b.mark != 1 {
		t.Errorf("Redis went back: %d answers counted, %d rewinds, mark %d", told, repairs.Counts()[RepairRollback], b.mark)
	}
}

// A beat that was under way while a death was dealt with tells of it again; that is dealt with once.
func TestDecision01_ADeathIsDealtWithOnce(t *testing.T) {
	_, c := start(t)
	k := keys.New("n", 1)
	revived := 0
	b := beatOf(c, k, "w", func(cfg *BeatConfig) {
		cfg.Revive = func(context.Context, int64) error { revived++; return nil }
	})
	once(t, b)
	if err := c.All(t.Context(), fleetCall(declareScript, k, "w", 1, "survivor", 1000)); err != nil {
		t.Fatal(err)
	}
	under := []*pulse{b.next(), b.next(), b.next()}
	for _, p := range under {
		p.Sent = time.Now()
		if err := c.All(t.Context(), p.call); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range under {
		p.Answered = time.Now()
		if _, err := b.take(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	once(t, b)
	if revived != 1 {
		t.Errorf("revived %d times", revived)
	}
}

// broken lets commands fail while it is set.
type broken struct{ atomic.Bool }

func (*broken) DialHook(next redis.DialHook) redis.DialHook { return next }

func (b *broken) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if b.Load() {
			cmd.SetErr(io.EOF)
			return io.EOF
		}
		return next(ctx, cmd)
	}
}

func (*broken) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// Beats without an answer are counted one by one and logged once for all that follow one another.
func TestARowOfBeatsWithoutAnAnswerIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, _ := start(t)
		out := &broken{}
		rdb.AddHook(out)
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		b := beatOf(conn.New(rdb, slog.New(slog.DiscardHandler)), keys.New("n", 1), "w", func(cfg *BeatConfig) { cfg.Log = logger })
		once(t, b)
		stop := run(b)
		for rows := 1; rows <= 2; rows++ {
			out.Store(true)
			time.Sleep(20 * time.Second)
			out.Store(false)
			time.Sleep(rowEnds + 2*beatAnswer)
			synctest.Wait()
			if n := b.Stats().Unanswered; n < uint64(rows)*15 || n > uint64(rows)*25 {
				t.Errorf("%d beats without an answer are counted after %d outages of 20 s", n, rows)
			}
			if n := strings.Count(log.String(), "beat not answered"); n != rows {
				t.Errorf("logged %d times:\n%s", n, log.String())
			}
		}
		stop()
	})
}
