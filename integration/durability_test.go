package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// mirrored starts a Redis with a replica that has caught up.
func mirrored(t *testing.T) (master, replica *redistest.Server) {
	t.Helper()
	master = redistest.Local(t, "--repl-diskless-sync-delay", "0")
	replica = redistest.Local(t, replicaOf(t, master)...)
	caughtUp(t, master.Client(t))
	return master, replica
}

// replicaOf are the arguments of a server that is a replica.
func replicaOf(t *testing.T, master *redistest.Server) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(master.Client(t).Options().Addr)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"--replicaof", host + " " + port}
}

// caughtUp waits until a master's replica follows it.
func caughtUp(t *testing.T, master *redis.Client) {
	t.Helper()
	eventually(t, "a replica that has caught up", func() bool {
		return strings.Contains(master.Info(t.Context(), "replication").Val(), "state=online")
	})
}

// While the replica has what is written, nothing is to be seen of Replicas(1); while it has not, creations say so and stand, and ends
// are told and counted.
func TestDecision17_CreationsAndEndsWaitForReplicas(t *testing.T) {
	t.Parallel()
	s, replica := mirrored(t)
	durable := []string{"--durability", "replicas=1", "--durable-within", "200ms"}
	patient := []string{"--durability", "replicas=1", "--durable-within", "1m"}
	w := worker(t, s, append(durable, "--allow-sim")...)
	if got := produce(t, s, 0, append(patient, "create", "echo", `1`, "--await")...); got != "1" {
		t.Errorf("%s", got)
	}
	if got := produceFrom(t, s, 0, "1\n2\n", append(patient, "gather", "echo", "-", "--await")...); got != "1\n2" {
		t.Errorf("%s", got)
	}
	short := w.metric(t, "gatherq_not_durable_total")

	replica.Pause(t)
	p := start(t, s, "producer", "", append(durable, "create", "--id", "short", "echo", `2`)...)
	if code := p.wait(t, patience); code != 5 || !strings.Contains(p.stderr.String(), "not_durable") ||
		!strings.Contains(p.stderr.String(), "0 replicas of 1 within 200ms") || !strings.Contains(p.stderr.String(), "producer await short") {
		t.Errorf("exit %d: %s", code, p.stderr.String())
	}
	p = start(t, s, "producer", "1\n2\n", append(durable, "gather", "--id", "shorts", "echo", "-")...)
	if code := p.wait(t, patience); code != 5 || !strings.Contains(p.stderr.String(), "not_durable") {
		t.Errorf("exit %d: %s", code, p.stderr.String())
	}
	// They stand, run and end, and the outcomes are told.
	if got := produce(t, s, 0, "await", "short", "shorts"); got != "2\n1\n2" {
		t.Errorf("%s", got)
	}
	eventually(t, "the outcomes are counted as short of it", func() bool { return w.metric(t, "gatherq_not_durable_total") >= short+3 })

	c := client(t, s, jobs.ClientConfig{Durability: jobs.Replicas(1), DurableWithin: 100 * time.Millisecond})
	echo := jobs.Define[int, int]("echo")
	task, err := jobs.CreateTask(t.Context(), c, echo.Call(3))
	if e, ok := errors.AsType[*jobs.Error](err); !ok || e.Kind != jobs.ErrNotDurable || task == nil || e.ID != task.ID() {
		t.Fatalf("%v, %v", task, err)
	}
	if v, err := await.Result(t.Context(), task); v != 3 || err != nil {
		t.Error(v, err)
	}
	// One that is there already has been written by another connection: that it is found says nothing about the replica.
	if again, err := jobs.CreateTask(t.Context(), c, jobs.Define[json.RawMessage, json.RawMessage]("echo").Call(json.RawMessage(`2`), jobs.ID("short"))); again == nil || !isKind(err, jobs.ErrNotDurable) {
		t.Errorf("found: %v, %v", again, err)
	}
	tasks, err := jobs.CreateTasks(t.Context(), c, echo.Calls(1, 2))
	if !isKind(err, jobs.ErrNotDurable) || tasks[0] == nil || tasks[1] == nil {
		t.Errorf("%v, %v", tasks, err)
	}
	group, err := jobs.Gather(t.Context(), c, echo.Calls(1, 2))
	if group == nil || !isKind(err, jobs.ErrNotDurable) {
		t.Fatalf("%v, %v", group, err)
	}
	if vs, err := await.All(t.Context(), group); len(vs) != 2 || err != nil {
		t.Error(vs, err)
	}
	if st := c.Stats(); st.Created != 4 || st.Gathered != 1 || st.Refused != 0 {
		t.Errorf("%+v", st)
	}
	replica.Resume(t)
	if got := produce(t, s, 0, append(patient, "create", "echo", `4`, "--await")...); got != "4" {
		t.Errorf("%s", got)
	}
	healthy(t, s)
}

// In a cluster each master has a replica of its own: creations and ends wait for that of the shard that they are in, and where one replica stands
// still only those of its master fall short.
func TestDecision17_EachMasterOfAClusterHasItsReplica(t *testing.T) {
	t.Parallel()
	s := redistest.StartCluster(t, steady)
	c := client(t, s.Server, jobs.ClientConfig{Durability: jobs.Replicas(1), DurableWithin: time.Minute})
	w := worker(t, s.Server, "--queues", "default,"+eightQueues, "--concurrency", "32", "--durability", "replicas=1", "--durable-within", "1s")
	echo := jobs.Define[int, int]("echo")
	numbers := make([]int, 60)
	for i := range numbers {
		numbers[i] = i
	}
	values := func(list []*jobs.Task[int]) {
		t.Helper()
		for i, task := range list {
			if v, err := await.Result(t.Context(), task); v != i || err != nil {
				t.Errorf("task %d: %d, %v", i, v, err)
			}
		}
	}
	list, err := jobs.CreateTasks(t.Context(), c, echo.Calls(numbers...))
	if err != nil {
		t.Fatal(err)
	}
	values(list)
	_, wait := spread(t, c, 16, 5, `{"sleep_ms":5}`)
	wait()
	ended := func() float64 { return w.metric(t, `gatherq_tasks_ended_total{state="succeeded"}`) }
	before, short := ended(), w.metric(t, "gatherq_not_durable_total")
	if before < 60 {
		t.Errorf("%v tasks have ended", before)
	}

	replica := s.Nodes[3] // of the first master
	first := s.Nodes[0].Client(t)
	confirmed := client(t, s.Server, jobs.ClientConfig{Durability: jobs.Replicas(1), DurableWithin: time.Second})
	if _, err := jobs.CreateTasks(t.Context(), confirmed, echo.Calls(numbers...)); err != nil { // it knows the cluster by then
		t.Fatal(err)
	}
	replica.Pause(t)
	there := 0
	list = nil
	for i := range numbers {
		id := fmt.Sprint("short-", i)
		task, err := jobs.CreateTask(t.Context(), confirmed, echo.Call(i, jobs.ID(id)))
		if task == nil {
			t.Fatalf("%s: %v", id, err)
		}
		list = append(list, task)
		stands := slices.ContainsFunc(allKeys(t, first), func(key string) bool { return strings.HasSuffix(key, "}:r:"+id) })
		if stands {
			there++
		}
		if stands != isKind(err, jobs.ErrNotDurable) || !stands && err != nil {
			t.Errorf("%s: in the shard of the replica that stands still: %v; %v", id, stands, err)
		}
		if there >= 2 && i-there > 2 { // each of those takes a second
			break
		}
	}
	if there == 0 || there == len(list) {
		t.Errorf("%d of %d tasks are with the first master", there, len(list))
	}
	values(list)
	eventually(t, "ends that are counted as short of it", func() bool { return w.metric(t, "gatherq_not_durable_total") >= short+float64(there) })
	replica.Resume(t)
	if again, err := jobs.CreateTasks(t.Context(), c, echo.Calls(numbers...)); err != nil {
		t.Error(err)
	} else {
		values(again)
	}
	healthy(t, s.Server)
}

// Where fsync cannot be confirmed, both programs say so before anything is stored.
func TestDecision17_FsyncIsRefusedWhereItCannotBeConfirmed(t *testing.T) {
	t.Parallel()
	old, current := redistest.Container(t, "redis:7.0"), redistest.Container(t, "redis:8.0")
	refused := func(s *redistest.Server, why string, args ...string) {
		t.Helper()
		for _, p := range []*program{start(t, s, "producer", "", append(args, "create", "echo", `1`)...), start(t, s, "worker", "", append(args, "--admin", "off")...)} {
			if code := p.wait(t, patience); code != 2 || !strings.Contains(p.stderr.String(), why) {
				t.Errorf("%s on %s: exit %d, %s", p.name, s.Name, code, p.stderr.String())
			}
		}
		if n := s.Client(t).DBSize(t.Context()).Val(); n != 0 {
			t.Errorf("%d keys were written on %s", n, s.Name)
		}
	}
	fsync := []string{"--durability", "fsync", "--durable-within", "1m"}
	refused(current, "appendonly no", fsync...)
	for _, s := range []*redistest.Server{old, current} {
		if err := s.Client(t).ConfigSet(t.Context(), "appendonly", "yes").Err(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the file is there", func() bool {
			info := s.Client(t).Info(t.Context(), "persistence").Val()
			return strings.Contains(info, "aof_enabled:1") && strings.Contains(info, "aof_rewrite_in_progress:0")
		})
	}
	refused(old, "has no WAITAOF", fsync...)
	always := append(slices.Clone(fsync), "--append-fsync-always")
	refused(old, "appendfsync everysec", always...)
	if err := old.Client(t).ConfigSet(t.Context(), "appendfsync", "always").Err(); err != nil {
		t.Fatal(err)
	}
	for s, args := range map[*redistest.Server][]string{old: always, current: fsync} {
		w := worker(t, s, args...)
		if got := produce(t, s, 0, append(args, "create", "echo", `1`, "--await")...); got != "1" {
			t.Errorf("%s", got)
		}
		if n := w.metric(t, "gatherq_not_durable_total"); n != 0 {
			t.Errorf("%s: %v outcomes fell short", s.Name, n)
		}
	}
}
