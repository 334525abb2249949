package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// make mutants takes minutes and is run by hand; that each fault has its place, and its test a name that is there, is looked at by
// every test run.
func TestEveryFaultHasItsPlaceAndItsTest(t *testing.T) {
	const top = "../.."
	names := map[string]bool{}
	for _, m := range mutants {
		if names[m.name] {
			t.Errorf("%s stands there twice", m.name)
		}
		names[m.name] = true
		source, err := os.ReadFile(filepath.Join(top, m.file))
		if err != nil {
			t.Fatal(err)
		}
		if wrong, err := m.plant(string(source)); err != nil || wrong == string(source) {
			t.Errorf("%s: %v", m.name, err)
		}
		if !isThere(t, filepath.Join(top, m.pkg), m.test) {
			t.Errorf("%s: there is no %s in %s", m.name, m.test, m.pkg)
		}
	}
	if len(names) < 15 {
		t.Errorf("%d faults are too few", len(names))
	}
}

// isThere tells whether the package in dir has that test.
func isThere(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "\nfunc "+name+"(t *testing.T) {") {
			return true
		}
	}
	return false
}
