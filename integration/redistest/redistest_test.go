package redistest

import (
	"context"
	"errors"
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
