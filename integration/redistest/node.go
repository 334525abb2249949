package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// Node is a server process of several that belong together. It may be killed and started again over what it has on disk.
type Node struct {
	Addr string // host:port

	binary string
	args   []string
	dir    string
	cmd    *exec.Cmd
	exited chan struct{}
}

// startNode starts a server on a free port. args are its further arguments, by its port.
func startNode(t testing.TB, args func(port int, dir string) []string) *Node {
	t.Helper()
	binary, missing := localBinary()
	if missing != "" {
		missingPart(t, "redis", missing, true)
	}
	var err error
	for range 5 { // between its choice and its use somebody else may take the port
		var port int
		if port, err = clusterPort(); err != nil {
			continue
		}
		n := &Node{Addr: fmt.Sprintf("127.0.0.1:%d", port), binary: binary, dir: t.TempDir()}
		n.args = args(port, n.dir)
		if err = n.start(); err != nil {
			n.end()
			continue
		}
		t.Cleanup(n.end)
		return n
	}
	t.Fatal(err)
	return nil
}

// Restartable starts a server that has everything on disk before it answers, and may be killed and started again. The test is skipped where no
// redis-server is installed.
func Restartable(t testing.TB) (*Server, *Node) {
	t.Helper()
	n := startNode(t, func(port int, dir string) []string {
		return serverArgs(port, dir, "--appendonly", "yes", "--appendfsync", "always")
	})
	return &Server{Name: filepath.Base(n.binary), URL: "redis://" + n.Addr + "/0", process: n.cmd.Process}, n
}

// clusterPort is FreePort for a port whose neighbour, 10,000 higher, may be the bus of a cluster.
func clusterPort() (int, error) {
	for {
		port, err := FreePort()
		if err != nil {
			return 0, err
		}
		if port += 10_000; port > 65_535 {
			port -= 20_000 // the range of ports that are given out ends below
		}
		free := true
		for _, p := range []int{port - 10_000, port} {
			l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(p))
			if err != nil {
				free = false
				break
			}
			l.Close()
		}
		if free {
			return port - 10_000, nil
		}
	}
}

func (n *Node) start() error {
	cmd := exec.Command(n.binary, n.args...)
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	n.cmd, n.exited = cmd, exited
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	go func() { // a server that cannot listen ends at once
		select {
		case <-exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	if err := answers(ctx, "redis://"+n.Addr, 20*time.Second); err != nil {
		log, _ := os.ReadFile(filepath.Join(n.dir, "redis.log"))
		return fmt.Errorf("%s %q does not answer: %w\n%s", n.binary, n.args, err, log)
	}
	return nil
}

// end kills the process, a stopped one too, and waits for its end.
func (n *Node) end() {
	if n.cmd != nil {
		n.cmd.Process.Kill()
		<-n.exited
	}
}

// Kill ends the server with kill -9 and waits until it is gone.
func (n *Node) Kill(t testing.TB) {
	t.Helper()
	n.end()
}

// Pause stops the process, SIGSTOP: connections stay, and nothing answers until Resume.
func (n *Node) Pause(t testing.TB) {
	t.Helper()
	must(t, n.cmd.Process.Signal(syscall.SIGSTOP))
}

// Resume lets a paused server go on.
func (n *Node) Resume(t testing.TB) {
	t.Helper()
	must(t, n.cmd.Process.Signal(syscall.SIGCONT))
}

// Start starts a killed server again, on its port and over what it has on disk.
func (n *Node) Start(t testing.TB) {
	t.Helper()
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
}

// Client returns a client of this server alone, closed with the test.
func (n *Node) Client(t testing.TB) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: n.Addr, MaxRetries: -1, Protocol: 2})
	t.Cleanup(func() { rdb.Close() })
	return rdb
}

// serverArgs are the arguments of a server that keeps nothing on disk but what it must.
func serverArgs(port int, dir string, more ...string) []string {
	return append([]string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir,
		"--logfile", filepath.Join(dir, "redis.log"), "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1",
	}, more...)
}

// until polls until ok, and fails the test when that takes longer than a minute.
func until(t testing.TB, what string, ok func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		}
	}
}
