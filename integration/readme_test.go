package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatherq/gatherq/integration/redistest"
)

// The README's example is a program that builds, runs and prints what it should.
func TestREADMEExample(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join("..", "examples", "quickstart", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+strings.TrimSpace(string(source))+"\n```") {
		t.Fatal("the README's example is not examples/quickstart/main.go")
	}
	addr := strings.TrimSuffix(strings.TrimPrefix(redistest.Embedded(t).URL, "redis://"), "/0")
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(source), "127.0.0.1:6379", addr)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "run", file).CombinedOutput()
	if want := "Hello Ada [Hello Grace Hello Barbara]\n"; err != nil || !strings.HasSuffix(string(out), want) {
		t.Fatalf("it printed %q, %v; want %q", out, err, want)
	}
}
