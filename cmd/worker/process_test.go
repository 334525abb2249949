//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/internal/embedded"
	"github.com/gatherq/gatherq/internal/tasks"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// binary builds the program once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "gatherq-worker")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "worker")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if path, err := binary(); err == nil {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	os.Exit(code)
}

// process is a running worker.
type process struct {
	cmd    *exec.Cmd
	stderr syncBuffer
	done   chan struct{}
}

// syncBuffer is written by one goroutine and read by another.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start starts the program with nothing of GATHERQ_ in its environment but env.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Env = []string{}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "GATHERQ_") {
			p.cmd.Env = append(p.cmd.Env, e)
		}
	}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("stderr of %v:\n%s", args, p.stderr.String())
		}
	})
	return p
}

func (p *process) signal(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// wait returns the exit code.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(30 * time.Second):
		t.Fatal("the process has not ended within 30 s")
		return -1
	}
}

// admin returns the address that the process has said.
func (p *process) admin(t *testing.T) string {
	t.Helper()
	var addr string
	eventually(t, "the process says its admin address", func() bool {
		_, rest, ok := strings.Cut(p.stderr.String(), " admin=")
		addr, _, _ = strings.Cut(rest, " ")
		return ok
	})
	return addr
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// redisFor starts a Redis for the test that other processes reach, and a client of it.
func redisFor(t *testing.T) (url string, rdb *redis.Client, client *jobs.Client) {
	t.Helper()
	e, err := embedded.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	rdb = redis.NewClient(e.Options())
	t.Cleanup(func() { _ = rdb.Close() })
	client, err = jobs.NewClient(rdb, jobs.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return "redis://" + e.Addr() + "/0", rdb, client
}

// running creates a program and returns when it runs, which it shows by counting in key.
func running(t *testing.T, rdb *redis.Client, client *jobs.Client, key, rest string) *jobs.Task[json.RawMessage] {
	t.Helper()
	program := `{"steps":[{"incr":"` + key + `"},` + rest + `]}`
	task, err := jobs.CreateTask(t.Context(), client, tasks.Sim.Call(json.RawMessage(program)))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the task runs", func() bool { return rdb.Get(t.Context(), "sim:"+key).Val() == "1" })
	return task
}

func result(t *testing.T, task *jobs.Task[json.RawMessage]) jobs.Outcome[json.RawMessage] {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := await.Outcome(ctx, task)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func ready(addr string) (string, error) {
	resp, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(b)), err
}

func isReady(addr string) func() bool {
	return func() bool { s, err := ready(addr); return err == nil && s == "ok" }
}

// TestFirstSignalDrains: what runs ends with its value, what waits stays for another worker.
func TestFirstSignalDrains(t *testing.T) {
	url, rdb, client := redisFor(t)
	p := start(t, nil, "--redis", url, "--admin", "127.0.0.1:0", "--allow-sim", "--concurrency", "1")
	addr := p.admin(t)
	eventually(t, "the worker is ready", isReady(addr))
	first := running(t, rdb, client, "n", `{"sleep_ms":3000},{"return":{"a" : "<1>"}}`)
	second, err := jobs.CreateTask(t.Context(), client, tasks.Echo.Call(json.RawMessage(`2`)))
	if err != nil {
		t.Fatal(err)
	}
	p.signal(t, syscall.SIGTERM)
	eventually(t, "the worker says that it drains", func() bool { s, err := ready(addr); return err == nil && s == "draining" })
	if out := result(t, first); string(out.Value) != `{"a" : "<1>"}` || out.Err != nil || out.Attempt != 1 {
		t.Errorf("the running task: %s, %v, attempt %d", out.Value, out.Err, out.Attempt)
	}
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if out, err := jobs.Peek(t.Context(), second); err != nil || out.State.Final() {
		t.Errorf("the waiting task: %v, %v", out.State, err)
	}
	start(t, []string{"GATHERQ_REDIS_URL=" + url, "GATHERQ_ADMIN=off"})
	if out := result(t, second); string(out.Value) != `2` || out.Attempt != 1 {
		t.Errorf("the waiting task: %s, %v, attempt %d", out.Value, out.Err, out.Attempt)
	}
}

// TestSecondSignalGivesBack: the task is another worker's at once, and nothing is charged.
func TestSecondSignalGivesBack(t *testing.T) {
	url, rdb, client := redisFor(t)
	p := start(t, []string{"GATHERQ_REDIS_URL=" + url, "GATHERQ_ALLOW_SIM=true"}, "--admin", "127.0.0.1:0")
	task := running(t, rdb, client, "n", `{"sleep_ms":5000},{"return":"$attempt"}`)
	addr := p.admin(t)
	p.signal(t, syscall.SIGINT)
	eventually(t, "the worker drains", func() bool { s, err := ready(addr); return err == nil && s == "draining" })
	begin := time.Now()
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != cli.ExitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	start(t, nil, "--redis", url, "--admin", "", "--allow-sim")
	if out := result(t, task); string(out.Value) != "1" || out.Attempt != 1 || out.Delivery < 2 {
		t.Errorf("%s, %v, attempt %d, delivery %d", out.Value, out.Err, out.Attempt, out.Delivery)
	}
	if n := rdb.Get(t.Context(), "sim:n").Val(); n != "2" {
		t.Errorf("it ran %s times, want 2", n)
	}
}

func TestSimEndsTheProcess(t *testing.T) {
	url, _, client := redisFor(t)
	p := start(t, nil, "--redis", url, "--admin", "", "--allow-sim")
	if _, err := jobs.CreateTask(t.Context(), client, tasks.Sim.Call(json.RawMessage(`{"steps":[{"exit":7}]}`))); err != nil {
		t.Fatal(err)
	}
	if code := p.wait(t); code != 7 {
		t.Errorf("exit code %d", code)
	}
}

// TestBadArgumentsAreNotRetried: also where retries are left, and the kind says whose fault it is.
func TestBadArgumentsAreNotRetried(t *testing.T) {
	url, _, client := redisFor(t)
	start(t, nil, "--redis", url, "--admin", "", "--allow-sim", "--file-root", t.TempDir())
	for _, tt := range []struct {
		call jobs.Call[json.RawMessage]
		kind jobs.ErrorKind
		say  string
	}{
		{tasks.Sim.Call(json.RawMessage(`{"steps":[{"sleep_ms":1},{"call":{}}]}`), jobs.Retries(3)), jobs.ErrBadArgs, "call is not available yet"},
		{jobs.Define[json.RawMessage, json.RawMessage]("sleep").Call(json.RawMessage(`{"mss":1}`), jobs.Retries(3)), jobs.ErrBadArgs, "mss"},
		{jobs.Define[json.RawMessage, json.RawMessage]("file").Call(json.RawMessage(`{"path":"../x"}`), jobs.Retries(3)), jobs.ErrFailed, "escapes"},
		{tasks.Sim.Call(json.RawMessage(`{"steps":[{"raise":"m","retry":false}]}`), jobs.Retries(3)), jobs.ErrFailed, "m"},
	} {
		task, err := jobs.CreateTask(t.Context(), client, tt.call)
		if err != nil {
			t.Fatal(err)
		}
		out := result(t, task)
		failure, _ := errors.AsType[*jobs.Error](out.Err)
		if failure == nil || failure.Kind != tt.kind || !strings.Contains(failure.Message, tt.say) || out.Attempt != 1 {
			t.Errorf("%v, attempt %d; want %s with %q", out.Err, out.Attempt, tt.kind, tt.say)
		}
	}
}

// TestEmbeddedServesOthers: a producer in another process uses the Redis inside a worker.
func TestEmbeddedServesOthers(t *testing.T) {
	p := start(t, nil, "--redis", "embedded", "--embedded-listen", "127.0.0.1:0", "--admin", "")
	var url string
	eventually(t, "the worker says where its Redis is", func() bool {
		_, rest, ok := strings.Cut(p.stderr.String(), "reach it at ")
		url, _, _ = strings.Cut(rest, ",")
		return ok
	})
	target, err := cli.ParseURL(url)
	if err != nil {
		t.Fatal(err)
	}
	rdb := redis.NewClient(&redis.Options{Addr: target.Addrs[0]})
	defer rdb.Close()
	client, err := jobs.NewClient(rdb, jobs.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	task, err := jobs.CreateTask(t.Context(), client, tasks.Echo.Call(json.RawMessage(`"hi"`)))
	if err != nil {
		t.Fatal(err)
	}
	if out := result(t, task); string(out.Value) != `"hi"` {
		t.Errorf("%s, %v", out.Value, out.Err)
	}
}

func TestHealthCommandAndSecrets(t *testing.T) {
	url, _, _ := redisFor(t)
	url = strings.Replace(url, "redis://", "redis://someone:hunter2@", 1)
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(url), 0o600); err != nil {
		t.Fatal(err)
	}
	// The embedded Redis knows no users: the worker is refused, and says so without the password.
	p := start(t, nil, "--redis-file", file, "--admin", "127.0.0.1:0", "--log-level", "debug")
	addr := p.admin(t)
	if code := start(t, []string{"GATHERQ_ADMIN=" + addr}, "health").wait(t); code != 1 {
		t.Errorf("health of a worker without Redis exits with %d", code)
	}
	if code := p.wait(t); code != cli.ExitUnavailable {
		t.Errorf("exit code %d", code)
	}
	if strings.Contains(p.stderr.String(), "hunter2") {
		t.Errorf("stderr shows the password: %s", p.stderr.String())
	}
	if code := start(t, []string{"GATHERQ_ADMIN=" + addr}, "health").wait(t); code != 1 {
		t.Errorf("health of nobody exits with %d", code)
	}

	good, _, _ := redisFor(t)
	p = start(t, []string{"GATHERQ_REDIS_URL=" + good}, "--admin", "127.0.0.1:0")
	addr = p.admin(t)
	eventually(t, "the worker is ready", isReady(addr))
	if code := start(t, nil, "health", "--admin", addr).wait(t); code != 0 {
		t.Errorf("health exits with %d", code)
	}
	busy := start(t, nil, "--redis", good, "--admin", addr)
	if code := busy.wait(t); code != cli.ExitUsage || !strings.Contains(busy.stderr.String(), "--admin "+addr+": the port is in use") {
		t.Errorf("a busy admin port: exit code %d", code)
	}
}
