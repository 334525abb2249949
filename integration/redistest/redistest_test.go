package redistest

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"time"
)

func TestEachServerAnswers(t *testing.T) {
	t.Parallel()
	Each(t, func(t *testing.T, s *Server) {
		rdb := s.Client(t)
		if err := rdb.Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		if n, err := rdb.DBSize(t.Context()).Result(); n != 1 || err != nil {
			t.Errorf("%d keys, error %v: want a server of its own", n, err)
		}
	})
}

func TestAPausedServerAcceptsAndDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := Local(t)
	s.Pause(t)
	if err := answers(t.Context(), s.URL, 300*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a paused server: %v", err)
	}
	s.Resume(t)
	if err := answers(t.Context(), s.URL, 10*time.Second); err != nil {
		t.Errorf("a resumed server: %v", err)
	}
}

func TestAClusterAnswersAndReplacesAMaster(t *testing.T) {
	t.Parallel()
	c := StartCluster(t, time.Second)
	rdb := c.Universal(t)
	for i := range 30 {
		if err := rdb.Set(t.Context(), strconv.Itoa(i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	masters := c.Masters(t)
	if len(masters) != 3 {
		t.Fatalf("%d masters", len(masters))
	}
	slot := int(rdb.ClusterKeySlot(t.Context(), "moved").Val())
	if err := rdb.Set(t.Context(), "moved", "here", 0).Err(); err != nil {
		t.Fatal(err)
	}
	from := masters[slot*3/16384]
	if n := c.MoveSlot(t, slot, from, masters[(slot*3/16384+1)%3], func() {}); n != 1 {
		t.Errorf("%d keys were moved, want 1", n)
	}
	if got := rdb.Get(t.Context(), "moved").Val(); got != "here" {
		t.Errorf("%q after the move", got)
	}
	from.Kill(t)
	until(t, "another master", func(ctx context.Context) error {
		if len(c.Masters(t)) != 3 {
			return errors.New("not yet")
		}
		return rdb.Set(ctx, "moved", "again", 0).Err()
	})
}

func TestSentinelsReplaceAMaster(t *testing.T) {
	t.Parallel()
	s := StartSentinels(t, time.Second)
	rdb := s.Universal(t)
	if err := rdb.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	old := s.Master(t)
	old.Kill(t)
	master := s.AwaitPromotion(t, old)
	until(t, "an answer of the new master", func(ctx context.Context) error { return rdb.Set(ctx, "k", "w", 0).Err() })
	if got := master.Client(t).Get(t.Context(), "k").Val(); got != "w" {
		t.Errorf("%q on the new master", got)
	}
}
