package integration

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// Connections of clients, of inboxes and of workers end all the time: every await still ends with the right value, and no
// lost reply counts as an attempt.
func TestLostConnectionsLoseNothing(t *testing.T) {
	t.Parallel()
	t.Run("of clients", func(t *testing.T) {
		t.Parallel()
		loseConnections(t, false, time.Minute)
	})
	// A message that a worker took and never heard of comes again when asynq's recoverer finds it: that takes up to two minutes.
	t.Run("of workers too", func(t *testing.T) {
		t.Parallel()
		loseConnections(t, true, 4*time.Minute)
	})
}

func loseConnections(t *testing.T, workers bool, limit time.Duration) {
	s := redistest.Local(t)
	rdb := s.Client(t)
	opts, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	opts.ClientName = "worker"
	nap := jobs.Define[int, int]("nap")
	var ran atomic.Int64
	for range 2 {
		own := redis.NewClient(opts)
		t.Cleanup(func() { own.Close() })
		wc, err := jobs.NewClient(own, jobs.ClientConfig{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { wc.Close() })
		w, err := jobs.NewWorker(wc, jobs.WorkerConfig{Concurrency: 50})
		if err != nil {
			t.Fatal(err)
		}
		jobs.Handle(w, nap, func(ctx context.Context, i int) (int, error) {
			ran.Add(1)
			select {
			case <-time.After(time.Duration(rand.IntN(200)) * time.Millisecond):
				return i, nil
			case <-ctx.Done():
				return 0, context.Cause(ctx)
			}
		})
		serve(t, w)
	}
	c := client(t, s, jobs.ClientConfig{})
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()

	killing, stop := context.WithTimeout(ctx, 5*time.Second) // then what is left to do is done
	var killer sync.WaitGroup
	kills := 0
	killer.Go(func() {
		for killing.Err() == nil {
			list, _ := rdb.ClientList(ctx).Result()
			for line := range strings.Lines(list) {
				if strings.Contains(line, "cmd=client") || !workers && strings.Contains(line, " name=worker ") {
					continue // the one that asks, or one to be left alone
				}
				id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
				if n, err := rdb.ClientKillByFilter(ctx, "ID", id).Result(); err == nil {
					kills += int(n)
				}
			}
			pause(t, time.Duration(20+rand.IntN(100))*time.Millisecond)
		}
	})

	const tasks, groups, members = 200, 10, 50
	var all sync.WaitGroup
	for i := range tasks {
		all.Go(func() {
			task, err := jobs.CreateTask(ctx, c, nap.Call(i))
			for isKind(err, jobs.ErrIndeterminate) { // the same call with its ID is safe
				e, _ := errors.AsType[*jobs.Error](err)
				task, err = jobs.CreateTask(ctx, c, nap.Call(i, jobs.ID(e.ID)))
			}
			if err != nil {
				t.Errorf("task %d: %v", i, err)
				return
			}
			out, err := await.Outcome(ctx, task)
			if err != nil || out.Value != i || out.Attempt != 1 {
				t.Errorf("task %d: %+v, %v", i, out, err)
			}
		})
	}
	for i := range groups {
		all.Go(func() {
			args := make([]int, members)
			for n := range args {
				args[n] = i*1000 + n
			}
			group, err := jobs.Gather(ctx, c, nap.Calls(args...))
			if err != nil {
				t.Errorf("group %d: %v", i, err)
				return
			}
			outs, err := await.Settled(ctx, group)
			if err != nil || len(outs) != members {
				t.Errorf("group %d: %d outcomes, %v", i, len(outs), err)
				return
			}
			for n, out := range outs {
				if out.Value != i*1000+n || out.Attempt != 1 {
					t.Errorf("group %d, member %d: %+v", i, n, out)
				}
			}
		})
	}
	all.Wait()
	stop()
	killer.Wait()
	t.Logf("%d connections were ended; %d handlers ran for %d tasks", kills, ran.Load(), tasks+groups*members)
	if kills < 20 {
		t.Errorf("only %d connections were ended", kills)
	}
}
