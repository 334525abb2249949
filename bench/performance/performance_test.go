package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// The committed page and chart are what the raw samples yield.
func TestThePageIsWhatTheSamplesYield(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	page, chart, err := render(root)
	if err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string][]byte{pageFile: page, chartFile: chart} {
		got, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what %s yields: run make performance", file, resultsDir)
		}
	}
}

func TestReplaceLeavesTheRestAlone(t *testing.T) {
	t.Parallel()
	page := []byte("a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n")
	got, err := replace(page, "x", "new\n")
	if want := "a\n<!-- begin x -->\n\nnew\n\n<!-- end x -->\nb\n"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
	if again, err := replace(got, "x", "new\n"); err != nil || !bytes.Equal(again, got) {
		t.Errorf("a second time: %q, %v", again, err)
	}
	for _, bad := range []string{"", "<!-- begin x -->\n", "<!-- end x -->\n<!-- begin x -->\n", "<!-- begin x -->\n<!-- begin x -->\n<!-- end x -->\n"} {
		if _, err := replace([]byte(bad), "x", "new"); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
