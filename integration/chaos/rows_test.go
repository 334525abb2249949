package main

import (
	"bytes"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// matrix are the rows of the fault matrix that the project tests against.
var matrix = strings.Fields("F1 F2 F3 F4 F5 F6 F8 F9 F10 F11 F12 F13 F15 F16 F18 F20 F24 F25 F26 F27 G1 G2 G3 G4 G5 C1 R1 F28 F29 F30 F31 S1 S2 X1")

func TestEveryRowHasItsTestsOrAReason(t *testing.T) {
	all, err := rows()
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range all {
		ids = append(ids, r.ID)
	}
	if !slices.Equal(ids, matrix) {
		t.Errorf("the rows are\n%v, want\n%v", ids, matrix)
	}
	// Where the matrix itself stands beside the checkout, it is the one that counts.
	b, err := os.ReadFile("../../../shared/faults.md")
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	var there []string
	_, text, _ := strings.Cut(string(b), "## 5.")
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		if len(cells) > 3 {
			if id := strings.TrimSpace(cells[1]); id != "ID" && !strings.HasPrefix(id, "-") {
				there = append(there, id)
			}
		}
	}
	if !slices.Equal(there, matrix) {
		t.Errorf("the matrix has\n%v, the rows are\n%v", there, matrix)
	}
}

func TestEveryNamedTestIsThere(t *testing.T) {
	all, err := rows()
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]map[string]bool{}
	for _, r := range all {
		for _, s := range append(slices.Clone(r.CI), r.Hand...) {
			entry, err := parseTest(s)
			if err != nil {
				t.Fatal(err)
			}
			if known[entry.pkg] == nil {
				known[entry.pkg] = testsOf(t, filepath.Join("..", "..", filepath.FromSlash(entry.pkg)))
			}
			if !known[entry.pkg][entry.name] {
				t.Errorf("%s: there is no %s in %s", r.ID, entry.name, entry.pkg)
			}
		}
	}
}

// testsOf are the functions of a package's test files.
func testsOf(t *testing.T, dir string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	names := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				names[fn.Name.Name] = true
			}
		}
	}
	return names
}

func TestEntries(t *testing.T) {
	got, err := parseTest("A=1 B=2 internal/group.TestX")
	if err != nil || !slices.Equal(got.env, []string{"A=1", "B=2"}) || got.pkg != "internal/group" || got.name != "TestX" {
		t.Errorf("%+v, %v", got, err)
	}
	if got.String() != "A=1 B=2 internal/group.TestX" {
		t.Error(got)
	}
	for _, bad := range []string{"", "TestX", "internal/group.X", "A internal/group.TestX"} {
		if got, err := parseTest(bad); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}

// What failed, was skipped or did not run at all ends the command with an error, and the table says which it was.
func TestTheTableTells(t *testing.T) {
	results := map[string]result{}
	read(strings.NewReader(`{"Action":"run","Test":"TestA"}
{"Action":"pass","Test":"TestA/sub","Elapsed":7.5}
{"Action":"pass","Test":"TestA","Elapsed":0.1}
{"Action":"skip","Test":"TestB","Elapsed":0}
`), batch{"", "p"}, results)
	chosen := []row{{ID: "F1", Fault: "one", CI: []string{"p.TestA"}}, {ID: "F2", Fault: "two", Why: "a reason"}, {ID: "F3", Fault: "three", Hand: []string{"X=1 p.TestL"}}}
	var out bytes.Buffer
	if err := write(&out, chosen, false, results); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"p.TestA", "pass", "7.5", "none: a reason", "by hand: X=1 p.TestL"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	for _, bad := range []string{"p.TestB", "p.TestC"} {
		out.Reset()
		if err := write(&out, []row{{ID: "F1", CI: []string{bad}}}, false, results); err == nil {
			t.Errorf("%s: no error for\n%s", bad, out.String())
		}
	}
	if need := needed([]row{{CI: []string{"p.TestA"}}, {CI: []string{"p.TestA", "q.TestB"}, Hand: []string{"X=1 q.TestB"}}}, false); len(need) != 2 || len(need[batch{"", "p"}]) != 1 {
		t.Errorf("%v", need)
	}
	if need := needed([]row{{CI: []string{"q.TestB"}, Hand: []string{"X=1 q.TestB"}}}, true); len(need) != 1 || len(need[batch{"X=1", "q"}]) != 1 {
		t.Errorf("%v", need)
	}
}
