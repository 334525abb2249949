package redistest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Perishable is a server on this machine whose power can be cut: a kill alone loses nothing that was written, since the system
// still writes it to the disk.
type Perishable struct {
	*Server

	binary, dir, shim string
	args              []string
	port              int
	exited            chan struct{}
}

// syncsSource notes before each fdatasync when it began and how long the file was, once it has succeeded.
const syncsSource = `#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#include <sys/stat.h>
int fdatasync(int fd) {
	int (*sync)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	struct stat st;
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	int known = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
	int failed = sync(fd);
	if (failed == 0 && known) {
		char line[128];
		int n = snprintf(line, sizeof line, "%lu %lld %lld\n", (unsigned long)st.st_ino, (long long)st.st_size, now.tv_sec * 1000000000LL + now.tv_nsec);
		int log = open(getenv("GATHERQ_TEST_SYNCS"), O_WRONLY | O_APPEND | O_CREAT, 0600);
		if (log >= 0) {
			if (write(log, line, n) != n) abort();
			close(log);
		}
	}
	return failed;
}
`

// NewPerishable starts an installed redis-server with an append-only file that is synced as policy says. The test is skipped where there
// is none, or no C compiler.
func NewPerishable(t testing.TB, policy string) *Perishable {
	t.Helper()
	binary, missing := localBinary()
	if missing != "" {
		missingPart(t, "redis", missing, true)
	}
	dir, shim := t.TempDir(), preload(t, syncsSource)
	port, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	p := &Perishable{binary: binary, dir: dir, shim: shim, port: port, args: []string{
		"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", dir, "--logfile", filepath.Join(dir, "redis.log"),
		"--appendonly", "yes", "--appendfsync", policy, "--auto-aof-rewrite-percentage", "0",
	}}
	p.Server = &Server{Name: filepath.Base(binary), URL: fmt.Sprintf("redis://127.0.0.1:%d/0", port)}
	p.Start(t)
	t.Cleanup(func() {
		p.process.Kill()
		<-p.exited
	})
	return p
}

// Start starts the server again, on what its disk has.
func (p *Perishable) Start(t testing.TB) {
	t.Helper()
	cmd := exec.Command(p.binary, p.args...)
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+p.shim, "GATHERQ_TEST_SYNCS="+p.syncs())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.process, p.exited = cmd.Process, make(chan struct{})
	go func() {
		cmd.Wait()
		close(p.exited)
	}()
	if err := answers(t.Context(), p.URL, time.Minute); err != nil {
		log, _ := os.ReadFile(filepath.Join(p.dir, "redis.log"))
		t.Fatalf("%v\n%s", err, log)
	}
}

func (p *Perishable) syncs() string { return filepath.Join(p.dir, "syncs") }

// CutPower kills the server and takes from its file what no fsync has written. It returns when the last one began, and how many bytes
// came later. There must have been one, see Synced.
func (p *Perishable) CutPower(t testing.TB) (synced time.Time, lost int64) {
	t.Helper()
	p.Kill(t)
	<-p.exited
	file, size, whole, synced := p.lastSync(t)
	if synced.IsZero() {
		t.Fatal("nothing was ever synced")
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	return synced, whole - size
}

// Synced reports whether any fsync of the file that is written now has begun.
func (p *Perishable) Synced(t testing.TB) bool {
	t.Helper()
	_, _, _, synced := p.lastSync(t)
	return !synced.IsZero()
}

// lastSync returns the file that is written, its size at the last fsync and now, and when that fsync began; the zero time for never.
func (p *Perishable) lastSync(t testing.TB) (path string, size, whole int64, at time.Time) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(p.dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatalf("append-only files: %v, %v", files, err)
	}
	file, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(p.syncs())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	prefix := strconv.FormatUint(file.Sys().(*syscall.Stat_t).Ino, 10) + " "
	for line := range bytes.Lines(log) {
		if rest, ok := strings.CutPrefix(string(line), prefix); ok && bytes.HasSuffix(line, []byte("\n")) {
			var ns int64
			if _, err := fmt.Sscan(rest, &size, &ns); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			at = time.Unix(0, ns)
		}
	}
	return files[0], size, file.Size(), at
}
