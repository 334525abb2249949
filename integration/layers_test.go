package integration

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gatherq/gatherq/"

// layers is the way of a task through the house, from left to right: a package knows only those behind it. Packages in one
// row stand beside each other and do not know each other, except from left to right.
var layers = [][]string{
	{"bench/performance", "cmd/producer", "cmd/worker"},
	{"bench"},
	{"bench/report", "internal/tasks"},
	{"pkg/jobs/jobstest"},
	{"pkg/await"},
	{"pkg/jobs"},
	{"internal/core"},
	{"internal/fleet", "internal/inbox", "internal/worker"},
	{"internal/group"},
	{"internal/carrier"},
	{"internal/record"},
	{"internal/conn"},
	{"internal/keys"},
	{"internal/names"},
}

// outside stand beside the way: they must not be known by what a user imports.
var outside = []string{"internal/cli", "internal/embedded"}

func TestPackagesKnowOnlyThoseBehindThem(t *testing.T) {
	t.Parallel()
	rank := map[string]int{}
	for i, row := range layers {
		for _, p := range row {
			rank[p] = i + 1
		}
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		from := strings.TrimPrefix(p.ImportPath, module)
		if strings.HasPrefix(from, "integration") || strings.HasPrefix(from, "examples") || slices.Contains(outside, from) {
			continue
		}
		if rank[from] == 0 {
			t.Errorf("%s has no place in the layers", from)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, module)
			switch {
			case !ours:
			case slices.Contains(outside, to):
				if rank[from] > rank["pkg/jobs/jobstest"] {
					t.Errorf("%s knows %s, which users of the library must not inherit", from, to)
				}
			case rank[to] == 0:
				t.Errorf("%s knows %s, which has no place in the layers", from, to)
			case rank[to] <= rank[from]:
				t.Errorf("%s knows %s, which stands before or beside it", from, to)
			}
		}
	}
}

// A program that uses the library must not inherit what only our programs and tests need.
func TestTheLibraryIsLight(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "./pkg/jobs", "./pkg/await")
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, heavy := range []string{"docker", "testcontainers", "spf13/cobra", "miniredis", "vbauerster/mpb", "prometheus", "pgregory.net/rapid", "gopher-lua"} {
		if strings.Contains(string(out), heavy) {
			t.Errorf("pkg/jobs or pkg/await depends on %s", heavy)
		}
	}
}
