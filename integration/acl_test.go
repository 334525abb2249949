package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// documentedUsers are the ACL rules of docs/operations.md, by user.
func documentedUsers(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	users := map[string][]string{}
	for _, block := range regexp.MustCompile(`(?ms)^ACL SETUSER (gatherq-\w+) (.*?)\n(?:\n|`+"```"+`)`).FindAllStringSubmatch(string(text), -1) {
		users[block[1]] = strings.Fields(strings.ReplaceAll(block[2], "\\\n", " "))
	}
	if len(users) != 2 {
		t.Fatalf("docs/operations.md has the rules of %d users, want two", len(users))
	}
	return users
}

// as makes a user by rules of the docs and returns the server as that user sees it.
func as(t *testing.T, s *redistest.Server, user, password string, rules []string) *redistest.Server {
	t.Helper()
	args := []any{"acl", "setuser", user}
	for _, r := range rules {
		args = append(args, strings.Replace(r, "PASSWORD", password, 1))
	}
	if err := s.Client(t).Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return &redistest.Server{Name: s.Name, URL: u.String()}
}

// denied returns what Redis has refused, a line each.
func denied(t *testing.T, rdb *redis.Client) (lines []string) {
	t.Helper()
	entries, err := rdb.Do(t.Context(), "acl", "log").Slice()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		m, _ := e.(map[any]any)
		lines = append(lines, fmt.Sprintf("%v: %v %v in a %v", m["username"], m["reason"], m["object"], m["context"]))
	}
	return lines
}

// rarely are commands of the rules that this test does not bring about.
var rarely = map[string]string{
	"auth":             "sent where hello is refused",
	"ping":             "on a subscription that has been silent for long, and by /healthz",
	"zremrangebyrank":  "asynq trims what it archives",
	"zrevrange":        "asynq, too",
	"zcard":            "asynq, too",
	"zrevrangebyscore": "the reconciler, of long queues",
}

// The rules of docs/operations.md let producers and workers do everything, also after a worker has died and a delivery was lost, and hold
// nothing that is not used.
func TestSecurity_TheDocumentedUsersAreEnough(t *testing.T) {
	t.Parallel()
	s := redistest.Local(t)
	rdb := s.Client(t)
	users := documentedUsers(t)
	producer := as(t, s, "gatherq-producer", "p", users["gatherq-producer"])
	fleet := as(t, s, "gatherq-worker", "w", users["gatherq-worker"])
	if err := rdb.ConfigResetStat(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	doomed := worker(t, fleet, "--concurrency", "4")
	held := produce(t, producer, 0, "create", "sim", `{"steps":[{"sleep_ms":3000},{"return":"held"}]}`)
	heldGroup := produceFrom(t, producer, 0, `{"steps":[{"sleep_ms":3000},{"return":1}]}`, "gather", "sim", "-")
	c := client(t, producer, jobs.ClientConfig{})
	eventually(t, "both run", func() bool {
		return inspect(t, jobs.TaskByID[json.RawMessage](c, held)).State == jobs.StateRunning && doomed.metric(t, "gatherq_handlers_running") == 2
	})
	doomed.kill(t)
	worker(t, fleet, "--concurrency", "8")
	drained := worker(t, fleet, "--concurrency", "8")

	lost := produce(t, producer, 0, "create", "echo", `"lost"`, "--queue", "lost")
	for _, key := range rdb.Keys(t.Context(), "asynq:{gatherq:lost}*").Val() {
		rdb.Del(t.Context(), key)
	}
	worker(t, fleet, "--queues", "lost")

	if got := produce(t, producer, 0, "create", "echo", `1`, "--await"); got != "1" {
		t.Errorf("%s", got)
	}
	if got := produce(t, producer, 0, "create", "sim", `{"steps":[{"fail_until_attempt":2},{"return":2}]}`, "--retries", "2", "--backoff", "10ms", "--in", "50ms", "--await"); got != "2" {
		t.Errorf("%s", got)
	}
	if got := produceFrom(t, producer, 0, strings.Repeat("1\n", 200), "gather", "echo", "-", "--max-running", "3", "--await"); strings.Count(got, "1") != 200 {
		t.Errorf("%s", got)
	}
	own, err := jobs.CreateTask(t.Context(), c, sim.Call(steps(`{"fail_until_attempt":2},{"return":5}`), jobs.Retries(1), jobs.Backoff(time.Millisecond, time.Millisecond)))
	if err != nil {
		t.Fatal(err)
	}
	group, err := jobs.Gather(t.Context(), c, jobs.Mixed(own, sim.Call(steps(`{"return":6}`), jobs.ID("own-6")), sim.Call(steps(`{"return":7}`))))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := await.All(t.Context(), group); len(got) != 3 || err != nil {
		t.Error(got, err)
	}
	stays := produce(t, producer, 0, "create", "sleep", `{"ms":600000}`)
	waits := produce(t, producer, 0, "create", "echo", `1`, "--in", "1h")
	produce(t, producer, 0, "status", stays)
	produce(t, producer, 0, "cancel", stays, waits, "--wait")
	broken := produceFrom(t, producer, 0, "{\"steps\":[{\"raise\":\"x\"}]}\n{\"steps\":[{\"sleep_ms\":600000}]}", "gather", "sim", "-")
	produce(t, producer, 1, "await", broken)
	produce(t, producer, 0, "cancel", broken)
	drained.signal(t, syscall.SIGTERM)
	drained.wait(t, patience)
	if got := produce(t, producer, 0, "await", held, heldGroup, lost); got != "\"held\"\n1\n\"lost\"" {
		t.Errorf("%s", got)
	}
	healthy(t, s)

	for _, line := range denied(t, rdb) {
		t.Errorf("denied: %s", line)
	}
	var unused []string
	for end := time.Now().Add(patience); ; pause(t, 100*time.Millisecond) { // some loops of the fleet come seldom
		unused = nil
		stats := rdb.Info(t.Context(), "commandstats").Val()
		for user, rules := range users {
			for _, rule := range rules {
				command, ok := strings.CutPrefix(rule, "+")
				if _, rare := rarely[command]; ok && !rare && !strings.Contains(stats, "cmdstat_"+command+":") {
					unused = append(unused, user+" may "+command)
				}
			}
		}
		if len(unused) == 0 || time.Now().After(end) {
			break
		}
	}
	for _, u := range unused {
		t.Errorf("%s, which nothing has used", u)
	}
}
