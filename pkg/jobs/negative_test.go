package jobs_test

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// What must not compile, does not, and on exactly the lines that say so.
func TestWhatMustNotCompile(t *testing.T) {
	src, err := os.ReadFile("testdata/negative/negative.go")
	if err != nil {
		t.Fatal(err)
	}
	var want []int
	for i, line := range strings.Split(string(src), "\n") {
		if strings.Contains(line, "// must not compile") {
			want = append(want, i+1)
		}
	}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-gcflags=-e", "./testdata/negative").CombinedOutput()
	if err == nil {
		t.Fatal("it compiles")
	}
	var got []int
	for _, m := range regexp.MustCompile(`(?m)negative\.go:(\d+):`).FindAllStringSubmatch(string(out), -1) {
		n, _ := strconv.Atoi(m[1])
		got = append(got, n)
	}
	slices.Sort(got)
	if got = slices.Compact(got); !slices.Equal(got, want) {
		t.Errorf("refused: lines %v\nwant: lines %v\n%s", got, want, out)
	}
}
