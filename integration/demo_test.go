package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatherq/gatherq/integration/redistest"
)

// tree writes some files and returns their directory.
func tree(t *testing.T, changed string) string {
	t.Helper()
	dir := t.TempDir()
	for i := range 40 {
		name := fmt.Sprintf("d%d/ü file %d.txt", i%3, i)
		text := strings.Repeat(fmt.Sprintf("line %d\n", i), i)
		if name == changed {
			text = strings.Replace(text, "line", "lime", 1)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDemoAgreesWithTheDirectComputation(t *testing.T) {
	t.Parallel()
	t.Run("by itself", func(t *testing.T) {
		t.Parallel()
		none := &redistest.Server{} // an empty GATHERQ_REDIS_URL is as none
		if out := produce(t, none, 0, "demo", tree(t, "")); !strings.Contains(out, "40") {
			t.Errorf("no word of 40 files:\n%s", out)
		}
	})
	t.Run("with workers", func(t *testing.T) {
		t.Parallel()
		s, dir := redistest.Any(t), tree(t, "")
		worker(t, s, "--file-root", dir)
		produce(t, s, 0, "demo", dir)
	})
}

func TestDemoDisagreesWhenAWorkerSeesAChangedFile(t *testing.T) {
	t.Parallel()
	const changed = "d1/ü file 25.txt"
	s := redistest.Any(t)
	worker(t, s, "--file-root", tree(t, changed))
	p := start(t, s, "producer", "", "demo", tree(t, ""))
	if code := p.wait(t, patience); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	if said := p.stdout.String() + p.stderr.String(); !strings.Contains(said, changed) || strings.Contains(said, "d2/ü file 26.txt: ") {
		t.Errorf("the changed file is not named:\n%s", said)
	}
}
