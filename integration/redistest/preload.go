package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// preload compiles C code that stands before the system's library in a server, see LD_PRELOAD. The test is skipped where there is no compiler.
func preload(t testing.TB, source string) (library string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "preload.c")
	library = filepath.Join(dir, "preload.so")
	must(t, os.WriteFile(file, []byte(source), 0o600))
	if out, err := exec.Command("cc", "-shared", "-fPIC", "-o", library, file, "-ldl").CombinedOutput(); err != nil {
		missingPart(t, "redis", fmt.Sprintf("no C compiler for what stands before redis-server's library: %v %s", err, out), true)
	}
	return library
}
