package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/embedded"
)

// Server is a Redis that ends with the test that started it.
type Server struct {
	Name string // for people: "embedded", "redis-server", "redis:8.0"
	URL  string // for clients in this process and in others

	process *os.Process                  // of Local alone
	open    func() redis.UniversalClient // of what is more than one server
}

// Client returns a client of the server, closed with the test; of a cluster or of sentinels there is Universal.
func (s *Server) Client(t testing.TB) *redis.Client {
	t.Helper()
	opts, err := redis.ParseURL(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// Universal returns a client of whatever kind of Redis this is, closed with the test.
func (s *Server) Universal(t testing.TB) redis.UniversalClient {
	t.Helper()
	if s.open == nil {
		return s.Client(t)
	}
	rdb := s.open()
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// PatientClient is Client for tests in which no answer may be lost: on a machine that is busy with others, one that comes after the
// usual seconds is given up, and the command sent again.
func (s *Server) PatientClient(t testing.TB) *redis.Client {
	t.Helper()
	return (&Server{URL: s.URL + "?read_timeout=2m"}).Client(t)
}

// IsReal reports whether this is a Redis and not the embedded one, which has no MONITOR and no CLIENT LIST.
func (s *Server) IsReal() bool { return s.Name != embeddedName }

const embeddedName = "embedded"

// Embedded starts an embedded Redis that listens on the loopback.
func Embedded(t testing.TB) *Server {
	t.Helper()
	srv, err := embedded.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return &Server{Name: embeddedName, URL: "redis://" + srv.Addr() + "/0"}
}

// Any starts a server of its own for a test that needs one, whichever: an installed redis-server, else the embedded one.
func Any(t testing.TB) *Server {
	t.Helper()
	if _, missing := localBinary(); missing != "" {
		missingPart(t, "redis", missing+"; the embedded Redis takes its place", false)
		return Embedded(t)
	}
	return Local(t)
}

// Each runs a test on every kind of Redis that is there, each with a server of its own, as parallel subtests named after
// them. What is missing shows as a skipped subtest. The race detector looks at our own code, to which it makes no difference which server
// answers: with it the test runs on the embedded Redis and on redis-server.
func Each(t *testing.T, test func(t *testing.T, s *Server)) {
	t.Helper()
	t.Run(embeddedName, func(t *testing.T) {
		t.Parallel()
		test(t, Embedded(t))
	})
	t.Run("redis-server", func(t *testing.T) {
		t.Parallel()
		test(t, Local(t))
	})
	if underRace {
		return
	}
	for _, image := range Images {
		t.Run(strings.ReplaceAll(image, "/", "_"), func(t *testing.T) {
			t.Parallel()
			test(t, Container(t, image))
		})
	}
}

// missingPart says that a part is not there: the test fails where GATHERQ_REQUIRE lists it, else it is skipped if skip is
// set, and only says so if not.
func missingPart(t testing.TB, part, why string, skip bool) {
	t.Helper()
	required := strings.FieldsFunc(os.Getenv("GATHERQ_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' })
	switch {
	case slices.Contains(required, part):
		t.Fatalf("GATHERQ_REQUIRE demands %s: %s", part, why)
	case skip:
		t.Skip(why)
	default:
		t.Log(why)
	}
}

// answers waits until the server at url answers, or d is over.
func answers(ctx context.Context, url string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	opts, err := redis.ParseURL(url)
	if err != nil {
		return err
	}
	opts.MaxRetries = -1
	opts.ContextTimeoutEnabled = true
	rdb := redis.NewClient(opts)
	defer rdb.Close()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		// Somebody must listen before a client is asked: it would log each dial that fails.
		listener, err := (&net.Dialer{}).DialContext(ctx, "tcp", opts.Addr)
		if err == nil {
			listener.Close()
			if err = rdb.Ping(ctx).Err(); err == nil {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}
