package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// How the fan-out reference packs: members to a list element, elements to a pipeline, goroutines that take them.
const (
	chunkMembers   = 64
	pipelineChunks = 64
	fanOutWorkers  = 4
)

func (k keyspace) chunks() string  { return k.key("chunks") }
func (k keyspace) results() string { return k.key("results") }
func (k keyspace) settled() string { return k.key("settled") }
func (k keyspace) done() string    { return k.key("done") }

// chunk is one list element: the arguments of up to 64 consecutive members.
type chunk struct {
	First   int       `json:"first"`
	Members []addArgs `json:"members"`
}

// fanOut is how fast bare Redis commands carry members to another process and all decoded results back.
func fanOut(members int) side {
	return side{name: "fan-out", n: members, jobs: []job{{Role: "fan-out", Members: members}}, run: func(r *round) error {
		if err := r.window.open(r.ctx); err != nil {
			return err
		}
		if err := r.pushChunks(members); err != nil {
			return err
		}
		if err := r.rdb.BLPop(r.ctx, 0, r.keys.done()).Err(); err != nil {
			return err
		}
		sums, err := r.fetchSums(members)
		if err != nil {
			return err
		}
		if err := r.window.shut(r.ctx); err != nil {
			return err
		}
		return checkSums(sums, members)
	}}
}

func (r *round) pushChunks(members int) error {
	pipeline := r.rdb.Pipeline()
	for first := 0; first < members; first += chunkMembers {
		c := chunk{First: first}
		for member := first; member < min(first+chunkMembers, members); member++ {
			c.Members = append(c.Members, argsOf(member))
		}
		element, err := json.Marshal(c)
		if err != nil {
			return err
		}
		pipeline.RPush(r.ctx, r.keys.chunks(), element)
		if pipeline.Len() == pipelineChunks {
			if _, err := pipeline.Exec(r.ctx); err != nil {
				return err
			}
		}
	}
	_, err := pipeline.Exec(r.ctx)
	return err
}

// fetchSums reads the whole hash with one HGETALL, which is no slower than HSCAN in pages of 1,000.
func (r *round) fetchSums(members int) ([]sum, error) {
	settled, err := r.rdb.HGetAll(r.ctx, r.keys.results()).Result()
	if err != nil {
		return nil, err
	}
	if len(settled) != members {
		return nil, fmt.Errorf("%d results for %d members", len(settled), members)
	}
	sums := make([]sum, members)
	for field, result := range settled {
		member, err := strconv.Atoi(field)
		if err != nil || member < 0 || member >= members {
			return nil, fmt.Errorf("unknown member %q in the results", field)
		}
		if sums[member], err = decodeSum([]byte(result)); err != nil {
			return nil, err
		}
	}
	return sums, nil
}

// fanOutWorker takes chunks, settles them, and tells the producer when the last member is settled.
type fanOutWorker struct {
	rdb  *redis.Client
	job  job
	fail func(error)
	on   bool
}

func newFanOutWorker(rdb *redis.Client, j job, fail func(error)) role {
	return &fanOutWorker{rdb: rdb, job: j, fail: fail}
}

// work begins to take chunks; blocked in BLPOP it disturbs nobody, so it never rests.
func (w *fanOutWorker) work(ctx context.Context) error {
	if w.on {
		return nil
	}
	w.on = true
	for range fanOutWorkers {
		go func() {
			for {
				if err := w.settleNext(ctx); err != nil {
					w.fail(err)
					return
				}
			}
		}()
	}
	return nil
}

func (w *fanOutWorker) settleNext(ctx context.Context) error {
	element, err := w.rdb.BLPop(ctx, 0, w.job.Keys.chunks()).Result()
	if err != nil {
		return err
	}
	var c chunk
	if err := json.Unmarshal([]byte(element[1]), &c); err != nil {
		return err
	}
	fields := make([]any, 0, 2*len(c.Members))
	for i, a := range c.Members {
		result, err := json.Marshal(a.add())
		if err != nil {
			return err
		}
		fields = append(fields, strconv.Itoa(c.First+i), result)
	}
	pipeline := w.rdb.Pipeline()
	pipeline.HSet(ctx, w.job.Keys.results(), fields...)
	settled := pipeline.IncrBy(ctx, w.job.Keys.settled(), int64(len(c.Members)))
	if _, err := pipeline.Exec(ctx); err != nil {
		return err
	}
	if settled.Val() == int64(w.job.Members) {
		return w.rdb.LPush(ctx, w.job.Keys.done(), "done").Err()
	}
	return nil
}

func (w *fanOutWorker) rest() error                { return nil }
func (w *fanOutWorker) values() map[string]float64 { return nil }
func (w *fanOutWorker) end()                       {}
