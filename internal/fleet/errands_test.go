package fleet

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/internal/carrier"
	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
)

// onEach runs a test on the embedded Redis and on an installed one.
func onEach(t *testing.T, test func(t *testing.T, s *redistest.Server)) {
	t.Run("embedded", func(t *testing.T) { test(t, redistest.Embedded(t)) })
	t.Run("redis-server", func(t *testing.T) { test(t, redistest.Local(t)) })
}

// looking makes a beat look for that.
func looking(look func() carrier.Look) func(*BeatConfig) {
	return func(cfg *BeatConfig) { cfg.Look = look }
}

func TestOneLeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rdb, c := start(t)
		k := keys.New("ns", 1)
		beats := map[string]*Beat{}
		var ends sync.WaitGroup
		stops := map[string]func(){}
		for _, id := range []string{"a", "b", "c"} {
			b := beatOf(c, k, id)
			once(t, b)
			ctx, stop := context.WithCancel(t.Context())
			ends.Go(func() { b.Run(ctx) })
			beats[id], stops[id] = b, stop
		}
		leaders := func() (ids []string) {
			for id, b := range beats {
				if b.Errands().Leads {
					ids = append(ids, id)
				}
			}
			return ids
		}
		time.Sleep(20 * time.Second)
		if got := leaders(); !slices.Equal(got, []string{"a"}) {
			t.Errorf("%v lead, want the first alone", got)
		}
		// It leaves: another one has it with its next beat.
		stops["a"]()
		synctest.Wait()
		delete(beats, "a")
		time.Sleep(beatEvery)
		synctest.Wait()
		second := leaders()
		if len(second) != 1 {
			t.Fatalf("%v lead after the first has left", second)
		}
		// It is killed: so it is when its lead is over.
		rdb.Set(t.Context(), k.Lead(), "killed", leadFor)
		time.Sleep(leadFor - beatEvery)
		synctest.Wait()
		if got := leaders(); len(got) != 0 {
			t.Errorf("%v lead while another one may be alive", got)
		}
		time.Sleep(3 * beatEvery)
		synctest.Wait()
		if got := leaders(); len(got) != 1 {
			t.Errorf("%v lead after one was killed", got)
		}
		for _, stop := range stops {
			stop()
		}
		ends.Wait()
	})
}

func TestABeatSeesWhatTheFleetNeeds(t *testing.T) {
	onEach(t, func(t *testing.T, s *redistest.Server) {
		ctx, rdb := t.Context(), s.Client(t)
		k, link := keys.New("ns", 2), conn.New(rdb, slog.New(slog.DiscardHandler))
		look := func() carrier.Look {
			l := carrier.Look{Queues: []string{"q", "r"}, Step: 4, Args: []any{"", 1, 1}, Keys: []string{"bell"}}
			for _, q := range l.Queues {
				prefix := "asynq:{ns:" + q + "}:"
				l.Keys = append(l.Keys, k.Parked(q), prefix+"pending", prefix+"paused", prefix+"lease")
			}
			return l
		}
		b := beatOf(link, k, "w", looking(look))
		see := func() Errands {
			t.Helper()
			once(t, b)
			return b.Errands()
		}
		e := see()
		if !e.Leads || len(e.Strays) > 0 || !slices.Equal(e.Shards, make([]ShardErrands, 2)) {
			t.Errorf("with nothing to do: %+v", e)
		}
		if d := time.Since(e.Now).Abs(); d > time.Minute {
			t.Errorf("the time is off by %v", d)
		}
		due := time.UnixMilli(time.Now().UnixMilli() + 1234)
		lease := func(queue string, age time.Duration) {
			rdb.ZAdd(ctx, "asynq:{ns:"+queue+"}:lease", redis.Z{Score: float64(time.Now().Add(30*time.Second - age).Unix()), Member: "m"})
		}
		rdb.ZAdd(ctx, k.Open(0), redis.Z{Score: far, Member: "held"})
		rdb.ZAdd(ctx, k.Open(1), redis.Z{Score: far, Member: "held"}, redis.Z{Score: float64(due.UnixMilli()), Member: "waits"})
		rdb.HSet(ctx, k.Outbox(0), "f", "v")
		lease("q", time.Second)
		lease("r", strayAge+2*time.Second)
		e = see()
		want := []ShardErrands{{Outbox: true}, {Next: due}}
		if !slices.Equal(e.Strays, []string{"r"}) || !slices.Equal(e.Shards, want) {
			t.Errorf("%+v, want strays in r and %+v", e, want)
		}
	})
}

// What came without a ring is seen with a beat: the server itself would look only seconds later.
func TestDecision41_TheBeatLooksForForeignWork(t *testing.T) {
	for _, queues := range []map[string]int{{"q": 1}, {"q": 1, "r": 2}} {
		onEach(t, func(t *testing.T, s *redistest.Server) {
			rdb := s.Client(t)
			k, link := keys.New("ns", 1), conn.New(rdb, slog.New(slog.DiscardHandler))
			got := make(chan string, 1)
			server, err := carrier.New(link, k, func(string) carrier.Crew { return carrier.Crew{} }).Serve(carrier.ServeConfig{
				Queues: queues, Tended: true, Slots: free{}, Log: slog.New(slog.DiscardHandler),
				Handle: func(queue string, _ []byte) error { got <- queue; return nil },
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(server.Drain)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			go beatOf(link, k, "w", looking(server.Look)).Run(ctx)
			client := asynq.NewClientFromRedisClient(s.Client(t))
			for range 3 {
				for end := time.Now().Add(10 * time.Second); !server.Look().Parked; time.Sleep(time.Millisecond) {
					if time.Now().After(end) {
						t.Fatal("the server does not park")
					}
				}
				begin := time.Now()
				if _, err := client.Enqueue(asynq.NewTask(carrier.TaskType, nil), asynq.Queue("ns:q")); err != nil {
					t.Fatal(err)
				}
				select {
				case <-got:
				case <-time.After(10 * time.Second):
					t.Fatal("nobody took it")
				}
				if d := time.Since(begin); d > 2*beatEvery {
					t.Errorf("it was taken after %v, want after a beat at most", d)
				}
			}
			// A name among the parked is renewed while the server waits.
			name := rdb.ZScore(ctx, k.Parked("q"), server.Look().Args[0].(string))
			if name.Err() != nil {
				t.Errorf("the server waits without a name: %v", name.Err())
			}
		})
	}
}

// free is slots without end.
type free struct{}

func (free) Acquire(context.Context) error { return nil }
func (free) TryAcquire() bool              { return true }
func (free) Release()                      {}
func (free) OnLoan(func(bool))             {}

func TestStraysAreLookedForWhereTheBeatSeesThem(t *testing.T) {
	for _, tt := range []struct {
		name    string
		errands Errands
		want    []string
		most    int // looks in 60 s
	}{
		{"seen", Errands{Shards: make([]ShardErrands, 1), Strays: []string{"b"}}, []string{"b"}, 13},
		{"none", Errands{Shards: make([]ShardErrands, 1)}, nil, 0},
		{"in a cluster", Errands{}, []string{"a", "b"}, 26},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				looks, repairs := map[string]int{}, &Repairs{}
				s := NewStrays(StraysConfig{
					Queues: []string{"a", "b"}, Repairs: repairs, Log: slog.New(slog.DiscardHandler), Errands: func() Errands { return tt.errands },
					Look: func(_ context.Context, queue string, age time.Duration) (int, int, error) {
						looks[queue]++
						if age != strayAge {
							t.Errorf("age %v", age)
						}
						return 2, 1, nil
					},
				})
				ctx, stop := context.WithCancel(t.Context())
				go s.Run(ctx)
				time.Sleep(time.Minute)
				stop()
				synctest.Wait()
				total := 0
				for _, q := range []string{"a", "b"} {
					total += looks[q]
					if wanted := slices.Contains(tt.want, q); wanted != (looks[q] >= 8) {
						t.Errorf("%d looks into %s, wanted: %v", looks[q], q, wanted)
					}
				}
				if n := repairs.Counts(); n[RepairPutBack] != uint64(2*total) || n[RepairRemoved] != uint64(total) {
					t.Errorf("%d looks counted as %v", total, n)
				}
				if total > tt.most {
					t.Errorf("%d looks in a minute", total)
				}
			})
		})
	}
}
