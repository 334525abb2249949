package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/cli"
)

// Parameters of every process, the same for references and candidates.
const (
	poolSize  = 20               // go-redis' default on two cores: asynq's figures fall when more of its pollers reach Redis at once
	drainTime = time.Second      // of a gatherq worker
	endTime   = 10 * time.Second // after which a worker process that should end is ended
)

// job tells a worker process what it is. It arrives as one line on its standard input (the URL may hold a password, which has no place
// among arguments or in the environment); the end of that input tells it to end.
type job struct {
	Role          string        `json:"role"`
	Target        cli.Target    `json:"target"`
	Keys          keyspace      `json:"keys"`
	Members       int           `json:"members,omitempty"`
	CheckInterval time.Duration `json:"check_interval,omitempty"`
	Concurrency   int           `json:"concurrency,omitempty"`
	Profiles      string        `json:"profiles,omitempty"` // a directory
}

// order is what a worker process is told after that, one line each, and answers with a line.
type order string

const (
	orderWork  order = "work"  // begin, or go on
	orderRest  order = "rest"  // leave Redis alone until told to go on
	orderUsage order = "usage" // tell what was used and seen so far

	orderProfile  order = "profile"  // begin a CPU profile
	orderProfiled order = "profiled" // end it
)

// answer is a worker process' line on its standard output.
type answer struct {
	Err    string             `json:"err,omitempty"`
	Values map[string]float64 `json:"values,omitempty"`
}

// role is the work of a worker process. What it does by itself and fails with, it tells with its fail function.
type role interface {
	work(ctx context.Context) error
	rest() error
	values() map[string]float64
	end()
}

// roles make a role over a client of its own.
var roles = map[string]func(rdb *redis.Client, j job, fail func(error)) role{
	"echo":    newEcho,
	"fan-out": newFanOutWorker,
	"asynq":   newAsynqServer,
	"gatherq": newGatherqWorker,
	"ping":    newPinger,
}

// Work is the main function of a worker process: it reads its job and its orders from in and answers on out, until in ends. The
// program that started it decides when that is, so it does not listen to SIGINT.
func Work(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	signal.Ignore(os.Interrupt)
	orders := json.NewDecoder(in)
	var j job
	if err := orders.Decode(&j); err != nil {
		return fmt.Errorf("reading the job: %w", err)
	}
	newRole, ok := roles[j.Role]
	if !ok {
		return fmt.Errorf("no role %q", j.Role)
	}
	rdb, err := connect(j.Target)
	if err != nil {
		return err
	}
	defer rdb.Close()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	r := newRole(rdb, j, fail)
	defer func() {
		late := time.AfterFunc(endTime, func() { os.Exit(cli.ExitFailed) })
		defer late.Stop()
		r.end()
	}()
	next := make(chan order)
	go func() {
		for {
			var o order
			if err := orders.Decode(&o); err != nil {
				fail(errEnd)
				return
			}
			next <- o
		}
	}()
	answers := json.NewEncoder(out)
	for {
		select {
		case <-ctx.Done():
			if err := context.Cause(ctx); !errors.Is(err, errEnd) {
				return fmt.Errorf("%s: %w", j.Role, err)
			}
			return nil
		case o := <-next:
			if err := answers.Encode(obey(ctx, r, j, o)); err != nil {
				return err
			}
		}
	}
}

// errEnd is the end of a worker process that was told to end.
var errEnd = errors.New("told to end")

func obey(ctx context.Context, r role, j job, o order) (a answer) {
	var err error
	switch o {
	case orderWork:
		err = r.work(ctx)
	case orderRest:
		err = r.rest()
	case orderUsage:
		a.Values = r.values()
		if a.Values == nil {
			a.Values = make(map[string]float64)
		}
		a.Values[cpuValue] = cpuMicros()
	case orderProfile:
		err = beginProfile(filepath.Join(j.Profiles, profileOf(os.Getpid())))
	case orderProfiled:
		err = endProfile()
	default:
		err = fmt.Errorf("no order %q", o)
	}
	if err != nil {
		a.Err = err.Error()
	}
	return a
}

// cpuValue is what a worker process tells of the CPU time that it has used.
const cpuValue = "cpu_us"

// connect returns a client with the options that references and candidates have in common.
func connect(target cli.Target) (*redis.Client, error) {
	opened := target.Open(cli.OpenConfig{PoolSize: poolSize})
	rdb, ok := opened.Client.(*redis.Client)
	if !ok {
		return nil, errors.Join(fmt.Errorf("%s is not one server", target), opened.Close())
	}
	return rdb, nil
}
