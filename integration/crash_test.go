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

// crashEnv holds what a crashing producer does: "<URL> <group ID> <members> <commands>".
const crashEnv = "GATHERQ_TEST_CRASH"

// crashed is a member of the groups that crashing producers gather; its argument is the group's number in the sweep.
var crashed = jobs.Define[int, int]("crashed", jobs.Retention(15*time.Second))

// crashingProducer gathers a group and kills its own process with SIGKILL when it has sent a number of commands to Redis. It
// prints how many commands it sent if it lives to see the end.
func crashingProducer() {
	fields := strings.Fields(os.Getenv(crashEnv))
	url, id := fields[0], fields[1]
	members, _ := strconv.Atoi(fields[2])
	last, _ := strconv.ParseInt(fields[3], 10, 64)
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
		for range members {
			if !yield(crashed.Call(number)) {
				return
			}
		}
	}, jobs.ID(id))
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
func crash(t *testing.T, s *redistest.Server, id string, members int, last int64) int64 {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %s %d %d", crashEnv, s.URL, id, members, last))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	if err == nil {
		n, err := strconv.ParseInt(stdout.String(), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v: %s", id, err, stderr.String())
		}
		return n
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != -1 {
		t.Fatalf("%s: %v: %s", id, err, stderr.String())
	}
	return 0
}

// A producer that is killed after any of its commands leaves the whole group, which runs to its end, or nothing.
func TestGatherIsAllOrNothingWhereverItsProducerDies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		members, points int // points: how many of the commands are tried, the last ones all
	}{{members: 2_000, points: 200}, {members: 100_000, points: 16}} {
		t.Run(strconv.Itoa(tt.members), func(t *testing.T) {
			t.Parallel()
			sweep(t, tt.members, tt.points)
		})
	}
}

func sweep(t *testing.T, members, points int) {
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

	// One that is not killed: how many commands there are, and what stays for good.
	commands := crash(t, s, "whole-0", members, 0)
	if whole := endOfCrash(t, c, "whole-0", members); !whole {
		t.Fatal("a gather that nobody killed is not known")
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
	var none, whole int
	for i, k := range at {
		id := fmt.Sprintf("killed-%d", i+1)
		if sent := crash(t, s, id, members, k); sent != 0 {
			t.Logf("after command %d: not killed, it sent %d", k, sent) // their number varies a little
		}
		eventually(t, "end of the dead producer's connections", func() bool { return !s.IsReal() || len(clients(t, rdb, id)) == 0 })
		if endOfCrash(t, c, id, members) {
			whole++
			if n := ran[i+1].Load(); n != int64(members) {
				t.Errorf("after command %d: %d members ran of %d", k, n, members)
			}
		} else {
			none++
			if n := ran[i+1].Load(); n != 0 {
				t.Errorf("after command %d: the group is not known, and %d members ran", k, n)
			}
		}
	}
	t.Logf("%d crash points: %d groups ran, %d are not there", len(at), whole, none)
	if whole == 0 || none == 0 {
		t.Errorf("%d groups ran, %d are not there: the sweep must see both", whole, none)
	}
	// Staging lives for 60 s, results and what is left of them for twice 15 s.
	within(t, 90*time.Second, "Redis without traces of the groups", func() bool {
		return len(holders(t, rdb, "killed-")) == 0 && !staged(t, rdb)
	})
	for i := range at {
		if n := ran[i+1].Load(); n != 0 && n != int64(members) {
			t.Errorf("group %d: %d members ran in the end", i+1, n)
		}
	}
}

// staged reports whether a key is left that holds arguments or results of a group.
func staged(t *testing.T, rdb *redis.Client) bool {
	t.Helper()
	for _, key := range allKeys(t, rdb) {
		for _, kind := range []string{":r:", ":a:", ":v:", ":i:", ":x:", ":y:", ":f:", ":m:", ":z:"} {
			if strings.HasPrefix(key, "gq:{") && strings.Contains(key, "}"+kind) {
				return true
			}
		}
	}
	return false
}

// endOfCrash waits for a group and reports whether it is there.
func endOfCrash(t *testing.T, c *jobs.Client, id string, members int) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	outs, err := await.Settled(ctx, jobs.GroupByID[int](c, id))
	if isKind(err, jobs.ErrUnknown) {
		return false
	}
	if err != nil || len(outs) != members {
		t.Fatalf("%s: %d outcomes, %v", id, len(outs), err)
	}
	for _, out := range outs {
		if out.State != jobs.StateSucceeded {
			t.Fatalf("%s: %+v", id, out)
		}
	}
	return true
}
