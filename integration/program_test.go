package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// patience bounds every wait for something that should take a moment: two cores run many of these tests at once.
const patience = 60 * time.Second

// program is a started producer or worker.
type program struct {
	name   string
	cmd    *exec.Cmd
	stdout lockedBuffer
	stderr lockedBuffer
	exited chan struct{}
	took   time.Duration // until its exit
	admin  string        // address of a worker
}

// lockedBuffer is written by a process and read by the test while it runs.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start starts a program on a Redis. It is killed at the end of the test if it still runs.
func start(t *testing.T, s *redistest.Server, name, stdin string, args ...string) *program {
	t.Helper()
	return launch(t, s, stdin, exec.Command(filepath.Join(bin, name), args...))
}

// launch is start of a command that need not be one of ours as they are; what it has in its environment is added to this process'.
func launch(t *testing.T, s *redistest.Server, stdin string, cmd *exec.Cmd) *program {
	t.Helper()
	p := &program{name: filepath.Base(cmd.Path), cmd: cmd, exited: make(chan struct{})}
	own := cmd.Env
	cmd.Env = nil
	for _, env := range os.Environ() {
		if !strings.HasPrefix(env, "GATHERQ_") { // every flag reads such a variable
			cmd.Env = append(cmd.Env, env)
		}
	}
	cmd.Env = append(append(cmd.Env, own...), "GATHERQ_REDIS_URL="+s.URL)
	p.cmd.Stdin = strings.NewReader(stdin)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	begin := time.Now()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		p.took = time.Since(begin)
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() && p.name == "worker" { // what a producer says, the test looks at
			t.Logf("%s %q wrote on stderr:\n%s", p.name, cmd.Args[1:], clip(p.stderr.String(), 4000))
		}
	})
	return p
}

// wait waits for the end of the program and returns its exit code, -1 where a signal ended it.
func (p *program) wait(t *testing.T, d time.Duration) int {
	t.Helper()
	select {
	case <-p.exited:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(d):
		t.Fatalf("%s still runs after %v; stderr:\n%s", p.name, d, clip(p.stderr.String(), 4000))
		return 0
	}
}

// signal sends a signal.
func (p *program) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// kill ends the program with kill -9 and waits for that.
func (p *program) kill(t *testing.T) {
	t.Helper()
	p.signal(t, syscall.SIGKILL)
	p.wait(t, patience)
}

// produce runs a producer to its end and wants an exit code; it returns what stands on stdout, without the last newline.
func produce(t *testing.T, s *redistest.Server, code int, args ...string) string {
	t.Helper()
	return produceFrom(t, s, code, "", args...)
}

// produceFrom is produce with a standard input.
func produceFrom(t *testing.T, s *redistest.Server, code int, stdin string, args ...string) string {
	t.Helper()
	return start(t, s, "producer", stdin, args...).said(t, code)
}

// said waits for the end of a producer, wants an exit code, and returns what stands on stdout, without the last newline.
func (p *program) said(t *testing.T, code int) string {
	t.Helper()
	if got := p.wait(t, 3*time.Minute); got != code {
		t.Fatalf("producer %.200q: exit %d, want %d\nstdout: %s\nstderr: %s", p.cmd.Args[1:], got, code,
			clip(p.stdout.String(), 1000), clip(p.stderr.String(), 2000))
	}
	return strings.TrimSuffix(p.stdout.String(), "\n")
}

// worker starts a worker process with all that needs no further permission, and waits until it is ready.
func worker(t *testing.T, s *redistest.Server, args ...string) *program {
	t.Helper()
	return ready(t, start(t, s, "worker", "", workerArgs(args)...))
}

// workerArgs are the arguments of a worker with all that needs no further permission.
func workerArgs(args []string) []string {
	return append([]string{"--allow-sim", "--admin", "127.0.0.1:0"}, args...)
}

// ready waits until a started worker takes work.
func ready(t *testing.T, p *program) *program {
	t.Helper()
	eventually(t, "a worker that is ready", func() bool {
		select {
		case <-p.exited:
			t.Fatalf("the worker ended: %s", p.stderr.String())
		default:
		}
		_, rest, said := strings.Cut(p.stderr.String(), " admin=")
		if !said {
			return false
		}
		p.admin, _, _ = strings.Cut(rest, " ")
		resp, err := http.Get("http://" + p.admin + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// metric asks a worker for one of its metrics, named as it is written; not there is a failure.
func (p *program) metric(t *testing.T, name string) float64 {
	t.Helper()
	resp, err := http.Get("http://" + p.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return v
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// resultLine is a result line of the command line.
type resultLine struct {
	ID         string          `json:"id"`
	Index      int             `json:"index"`
	State      string          `json:"state"`
	Value      json.RawMessage `json:"value"`
	Error      *lineError      `json:"error"`
	Attempt    int             `json:"attempt"`
	Delivery   int             `json:"delivery"`
	Worker     string          `json:"worker"`
	QueuedAt   time.Time       `json:"queued_at"`
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt time.Time       `json:"finished_at"`
}

type lineError struct {
	Kind    string `json:"kind"`
	Message string `json:"message"`
}

// parseLines decodes the output of a producer with --json.
func parseLines(t *testing.T, out string) []resultLine {
	t.Helper()
	var lines []resultLine
	for line := range strings.Lines(out) {
		var l resultLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("not a result line: %v: %s", err, line)
		}
		lines = append(lines, l)
	}
	return lines
}

// parseLine is parseLines for output of one line.
func parseLine(t *testing.T, out string) resultLine {
	t.Helper()
	lines := parseLines(t, out)
	if len(lines) != 1 {
		t.Fatalf("%d result lines, want 1: %s", len(lines), out)
	}
	return lines[0]
}

// client returns a client of the library on a Redis, with a connection pool of its own; both end with the test.
func client(t *testing.T, s *redistest.Server, cfg jobs.ClientConfig) *jobs.Client {
	t.Helper()
	c, err := jobs.NewClient(s.Universal(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serve runs a worker of the library in this process until the test ends.
func serve(t *testing.T, w *jobs.Worker) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("worker: %v", err)
		}
	})
	select {
	case <-w.Ready():
	case err := <-ended:
		ended <- err
		t.Fatalf("the worker ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the worker is not ready")
	}
}

// eventually polls until ok, and fails the test when that takes longer than patience.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	within(t, patience, what, ok)
}

// within polls until ok, and fails the test when that takes longer than d.
func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	end := time.After(d)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("no %s within %v", what, d)
		}
	}
}

// simKey returns the number under a key of the sim type, 0 where there is none.
func simKey(t *testing.T, rdb *redis.Client, name string) int {
	t.Helper()
	n, err := rdb.Get(t.Context(), "sim:"+name).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	return n
}

func clip(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}
