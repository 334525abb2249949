package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// crashEnv holds what a crashing producer does: "<URL> <group ID> <members> <every> <commands>"; each member
// whose index is a multiple of every, if that is not 0, is a task with an ID of its own.
const crashEnv = "GATHERQ_TEST_CRASH"

// crashRetention is that of the groups: long enough to await one after its producer died.
const crashRetention = 15 * time.Second

// crashed is a member of the groups that crashing producers gather; its argument is the group's number in the sweep.
var crashed = jobs.Define[int, int]("crashed")

// crashingProducer gathers a group and kills its own process with SIGKILL when it has sent a number of commands to Redis. It
// prints how many commands it sent if it lives to see the end.
func crashingProducer() {
	fields := strings.Fields(os.Getenv(crashEnv))
	url, id := fields[0], fields[1]
	members, _ := strconv.Atoi(fields[2])
	every, _ := strconv.Atoi(fields[3])
	last, _ := strconv.ParseInt(fields[4], 10, 64)
	number, _ := strconv.Atoi(id[strings.LastIndexByte(id, '-')+1:])

	opts, err := redis.ParseURL(url)
	if err != nil {
		panic(err)
	}
	opts.ClientName = id
	counter := &commandCounter{last: last}
	opts.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return &countingConn{Conn: conn, counter: counter}, nil
	}
	c, err := jobs.NewClient(redis.NewClient(opts), jobs.ClientConfig{})
	if err != nil {
		panic(err)
	}
	_, err = jobs.GatherSeq(context.Background(), c, func(yield func(jobs.Call[int]) bool) {
		for i := range members {
			var own []jobs.CallOption
			if every > 0 && i%every == 0 {
				own = append(own, jobs.ID(fmt.Sprintf("%s.%d", id, i)), jobs.Retention(crashRetention))
			}
			if !yield(crashed.Call(number, own...)) {
				return
			}
		}
	}, jobs.ID(id), jobs.Retention(crashRetention))
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(strconv.FormatInt(counter.sent.Load(), 10))
}

// commandCounter counts the commands of all connections of a process, which ends with the last one.
type commandCounter struct {
	mu   sync.Mutex
	sent atomic.Int64
	last int64 // 0: never
}

// countingConn knows where commands end in what is written, however the writes are cut.
type countingConn struct {
	net.Conn
	counter *commandCounter
	rest    []byte // of a header that is not complete
	items   int    // of the command that are still to come
	skip    int    // bytes of an item that are still to come
}

// Write sends what belongs to the last command and no byte more, and then ends the process. What was sent arrives: the kernel
// has it.
func (c *countingConn) Write(p []byte) (int, error) {
	c.counter.mu.Lock()
	defer c.counter.mu.Unlock()
	for done := 0; done < len(p); {
		n, ended := c.advance(p[done:])
		done += n
		if ended && c.counter.sent.Add(1) == c.counter.last {
			c.Conn.Write(p[:done])
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	return c.Conn.Write(p)
}

// advance reads on in a stream of RESP arrays of bulk strings, up to the end of a command at most.
func (c *countingConn) advance(p []byte) (n int, ended bool) {
	for n < len(p) {
		if c.skip > 0 {
			step := min(c.skip, len(p)-n)
			c.skip -= step
			n += step
			if c.skip == 0 && c.items == 0 {
				return n, true
			}
			continue
		}
		end := bytes.IndexByte(p[n:], '\n')
		if end < 0 {
			c.rest = append(c.rest, p[n:]...)
			return len(p), false
		}
		header := string(c.rest) + string(p[n:n+end])
		c.rest = nil
		n += end + 1
		number, err := strconv.Atoi(strings.TrimSuffix(header[1:], "\r"))
		if err != nil {
			panic(fmt.Sprintf("not RESP: %q", header))
		}
		if header[0] == '*' {
			c.items = number
		} else {
			c.items--
			c.skip = number + 2
		}
	}
	return n, false
}

// crash runs a crashing producer and returns how many commands it sent, 0 if it was killed.
func crash(t *testing.T, s *redistest.Server, id string, members, every int, last int64) (int64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d %d", crashEnv, s.URL, id, members, every, last))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if err == nil {
		return strconv.ParseInt(stdout.String(), 10, 64)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == -1 {
		return 0, nil
	}
	return 0, fmt.Errorf("%w: %s", err, stderr.String())
}

// A producer that is killed after any of its commands leaves the whole group, which runs to its end, or nothing.
func TestGatherIsAllOrNothingWhereverItsProducerDies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		members int
		every   int // of the members that are tasks with IDs of their own
		points  int // how many of the commands are tried, beside the last ones
	}{
		{name: "2,000", members: 2_000, points: 200},
		{name: "100,000", members: 100_000, points: 16},
		{name: "with IDs of their own", members: 200, every: 10, points: 60},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			sweep(t, tt.members, tt.every, tt.points)
		})
	}
}

func sweep(t *testing.T, members, every, points int) {
	s := redistest.Any(t)
	rdb := s.Client(t)
	c := client(t, s, jobs.ClientConfig{})
	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Concurrency: 64})
	if err != nil {
		t.Fatal(err)
	}
	var ran [1000]atomic.Int64 // by the number of the group
	jobs.Handle(w, crashed, func(_ context.Context, number int) (int, error) {
		ran[number].Add(1)
		return number, nil
	})
	serve(t, w)

	// Two that are not killed: the first one brings the scripts into Redis, the second one shows how many commands there are.
	var commands int64
	for _, id := range []string{"first-0", "whole-0"} {
		if commands, err = crash(t, s, id, members, every, 0); err != nil {
			t.Fatal(err)
		}
		if whole, err := endOfCrash(t, c, id, members); !whole || err != nil {
			t.Fatalf("a gather that nobody killed: %v, %v", whole, err)
		}
	}
	t.Logf("a gather of %d sends %d commands", members, commands)

	step := max(1, float64(commands-5)/float64(points))
	var at []int64
	for k := 1.0; int64(k) < commands-5; k += step {
		at = append(at, int64(k))
	}
	for k := max(1, commands-5); k <= commands; k++ {
		at = append(at, k)
	}
	var none, there atomic.Int64
	var all sync.WaitGroup
	running := make(chan struct{}, 4) // some wait for the repair of what the dead one has left half done
	for i, k := range at {
		running <- struct{}{}
		all.Go(func() {
			defer func() { <-running }()
			id := fmt.Sprintf("killed-%d", i+1)
			whole, err := crashPoint(t, s, c, id, members, every, k)
			n := ran[i+1].Load()
			switch {
			case err != nil:
				t.Errorf("after command %d: %v", k, err)
			case whole:
				there.Add(1)
				if n != int64(members) {
					t.Errorf("after command %d: %d members ran of %d", k, n, members)
				}
			default:
				none.Add(1)
				if n != 0 {
					t.Errorf("after command %d: the group is not known, and %d members ran", k, n)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d crash points: %d groups ran, %d are not there", len(at), there.Load(), none.Load())
	if there.Load() == 0 || none.Load() == 0 {
		t.Errorf("%d groups ran, %d are not there: the sweep must see both", there.Load(), none.Load())
	}
	// Staging lives for 60 s, results and what is left of them for twice their retention.
	for end := time.Now().Add(75 * time.Second); ; pause(t, time.Second) {
		left := append(holders(t, rdb, "killed-"), staged(t, rdb)...)
		if len(left) == 0 {
			break
		}
		if time.Now().After(end) {
			t.Errorf("the groups left traces: %q", left)
			break
		}
	}
	for i := range at {
		if n := ran[i+1].Load(); n != 0 && n != int64(members) {
			t.Errorf("group %d: %d members ran in the end", i+1, n)
		}
	}
	healthy(t, s)
}

// staged returns the keys that hold arguments or results of a group.
func staged(t *testing.T, rdb *redis.Client) (keys []string) {
	t.Helper()
	for _, key := range allKeys(t, rdb) {
		for _, kind := range []string{"r:", "a:", "v:", "i:", "x:", "y:", "f:", "m:", "z:"} {
			if _, rest, ok := strings.Cut(key, "}:"); ok && strings.HasPrefix(key, "gq:{gatherq:") && strings.HasPrefix(rest, kind) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// crashPoint kills a producer after its k-th command, and reports whether its group is there and has ended well.
func crashPoint(t *testing.T, s *redistest.Server, c *jobs.Client, id string, members, every int, k int64) (bool, error) {
	if sent, err := crash(t, s, id, members, every, k); err != nil {
		return false, err
	} else if sent != 0 {
		t.Logf("after command %d: not killed, it sent %d", k, sent) // their number varies a little
	}
	if s.IsReal() { // Redis has read all that the dead one sent when it has closed its connections
		opts, err := redis.ParseURL(s.URL)
		if err != nil {
			return false, err
		}
		rdb := redis.NewClient(opts)
		defer rdb.Close()
		for {
			list, err := rdb.ClientList(t.Context()).Result()
			if err != nil {
				return false, err
			}
			if !strings.Contains(list, " name="+id+" ") {
				break
			}
			pause(t, 5*time.Millisecond)
		}
	}
	return endOfCrash(t, c, id, members)
}

// endOfCrash waits for a group and reports whether it is there.
func endOfCrash(t *testing.T, c *jobs.Client, id string, members int) (bool, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*patience) // four of 100,000 members at once, repaired, with the race detector
	defer cancel()
	outs, err := await.Settled(ctx, jobs.GroupByID[int](c, id))
	if isKind(err, jobs.ErrUnknown) {
		return false, nil
	}
	if err != nil || len(outs) != members {
		return true, fmt.Errorf("%d outcomes: %w", len(outs), err)
	}
	for _, out := range outs {
		if out.State != jobs.StateSucceeded {
			return true, fmt.Errorf("member %d: %s: %w", out.Index, out.State, out.Err)
		}
	}
	return true, nil
}
