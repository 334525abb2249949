package redistest

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// Local starts an installed redis-server or valkey-server on a free port of the loopback, without persistence. The test is
// skipped where there is none. args go to its command line.
func Local(t testing.TB, args ...string) *Server {
	t.Helper()
	return local(t, nil, args)
}

// local is Local with an environment beside this process' own.
func local(t testing.TB, env, args []string) *Server {
	t.Helper()
	binary, missing := localBinary()
	if missing != "" {
		missingPart(t, "redis", missing, true)
	}
	var err error
	for range 5 { // between its choice and its use somebody else may take the port
		var s *Server
		if s, err = startLocal(t, binary, env, args); err == nil {
			return s
		}
	}
	t.Fatal(err)
	return nil
}

func localBinary() (path, missing string) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, ""
		}
	}
	return "", "no redis-server is installed"
}

// startLocal starts a server on a port that was free. Another may take that in between, so it tries a few.
func startLocal(t testing.TB, binary string, env, args []string) (s *Server, err error) {
	for range 5 {
		var taken bool
		if s, taken, err = tryLocal(t, binary, env, args); !taken {
			break
		}
	}
	return s, err
}

func tryLocal(t testing.TB, binary string, env, args []string) (s *Server, taken bool, err error) {
	port, err := FreePort()
	if err != nil {
		return nil, false, err
	}
	dir := t.TempDir()
	logFile := filepath.Join(dir, "redis.log")
	cmd := exec.Command(binary, append([]string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
		"--dir", dir, "--logfile", logFile,
	}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		return nil, false, err
	}
	exited := make(chan struct{})
	go func() {
		cmd.Wait()
		close(exited)
	}()
	s = &Server{Name: filepath.Base(binary), URL: fmt.Sprintf("redis://127.0.0.1:%d/0", port), process: cmd.Process}
	t.Cleanup(func() {
		cmd.Process.Kill() // ends a stopped process, too
		<-exited
	})
	err = answers(t.Context(), s.URL, 10*time.Second)
	log, _ := os.ReadFile(logFile)
	taken = bytes.Contains(log, []byte("Address already in use")) // then who answers is another
	if err != nil || taken {
		return nil, taken, fmt.Errorf("%s does not answer: %w\n%s", binary, err, log)
	}
	return s, false, nil
}

// Pause stops the process of a Local server, SIGSTOP: connections stay, and nothing answers until Resume.
func (s *Server) Pause(t testing.TB) { s.signal(t, syscall.SIGSTOP) }

// Resume lets a paused server go on.
func (s *Server) Resume(t testing.TB) { s.signal(t, syscall.SIGCONT) }

// Kill ends a Local server for good.
func (s *Server) Kill(t testing.TB) { s.signal(t, syscall.SIGKILL) }

func (s *Server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if s.process == nil {
		t.Fatalf("%s is no process of this machine that a test may signal", s.Name)
	}
	if err := s.process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// FreePort returns a port of the loopback that nobody listened on a moment ago.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
