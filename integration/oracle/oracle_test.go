package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// scenarios returns the files of all scenarios, by name.
func scenarios(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	byName := map[string]string{}
	for _, file := range files {
		byName[strings.TrimSuffix(filepath.Base(file), ".json")] = file
	}
	return byName
}

// later returns the names in later.txt.
func later(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("later.txt")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

func TestScenariosAreThoseOfTheReference(t *testing.T) {
	t.Parallel()
	reference := filepath.Join("..", "..", "..", "shared", "oracle", "scenarios")
	if dir := os.Getenv("GATHERQ_SHARED"); dir != "" {
		reference = filepath.Join(dir, "oracle", "scenarios")
	}
	files, _ := filepath.Glob(filepath.Join(reference, "*.json"))
	if len(files) == 0 {
		t.Logf("no reference to compare with in %s", reference)
		return
	}
	ours := scenarios(t)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(ours[name]); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from the reference (error %v)", name, err)
		}
		delete(ours, name)
	}
	if len(ours) > 0 {
		t.Errorf("the reference has no %v", ours)
	}
}

func TestLaterIsWhatTheRunnerDoesNotHave(t *testing.T) {
	t.Parallel()
	var want []string
	for name, file := range scenarios(t) {
		sc, err := load(file, 1)
		if err != nil {
			t.Fatal(err)
		}
		if sc.Name != name {
			t.Errorf("%s holds the scenario %q", file, sc.Name)
		}
		if len(sc.unsupported()) > 0 {
			want = append(want, name)
		}
	}
	slices.Sort(want)
	if got := later(t); !slices.Equal(got, want) {
		t.Errorf("later.txt has %q, want %q", got, want)
	}
}

func TestAllOtherScenariosGoAsInAsyncio(t *testing.T) {
	t.Parallel()
	args := []string{"-redis", "embedded", "-scale", "3"} // beside all other tests a step may be a tenth of a second late
	skip := later(t)
	for name, file := range scenarios(t) {
		if !slices.Contains(skip, name) {
			args = append(args, file)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), args, &stdout, &stderr); code != 0 {
		t.Errorf("exit %d:\n%s", code, stderr.String())
	}
	if got, want := strings.Count(stdout.String(), "\n"), len(args)-4; got != want {
		t.Errorf("%d lines of %d scenarios", got, want)
	}
	for line := range strings.Lines(stdout.String()) {
		var object map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &object); err != nil || len(object) != 3 ||
			object["name"] == nil || object["log"] == nil || object["final"] == nil {
			t.Errorf("not {name, log, final}: %v: %s", err, line)
		}
	}
}

func TestWhatCannotRunIsRefused(t *testing.T) {
	t.Parallel()
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte(`{"name":"x","steps":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"testdata/wait-all.json"}, "no wait"},
		{[]string{"testdata/task-group-ok.json"}, "no task_group"},
		{[]string{"testdata/wait-for-raises.json"}, "no wait_for"},
		{[]string{"testdata/shield.json"}, "no shield"},
		{[]string{"testdata/gather-cancel.json"}, "no cancel of a group"},
		{[]string{"-inside", "testdata/gather-one.json"}, "-inside"},
		{[]string{"-parallel", "0", "testdata/gather-one.json"}, "-parallel"},
		{[]string{"-scale", "0", "testdata/gather-one.json"}, "-scale"},
		{[]string{"-scale", "x"}, "scale"},
		{[]string{}, "no files"},
		{[]string{"testdata/nothing.json"}, "nothing.json"},
		{[]string{bad}, "steps"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), tt.args, &stdout, &stderr); code != 2 || !strings.Contains(stderr.String(), tt.says) || stdout.Len() > 0 {
			t.Errorf("%q: exit %d, %s%s; want 2 and %q", tt.args, code, stdout.String(), stderr.String(), tt.says)
		}
	}
}

// What differs from expect is told and fails; a scenario without expect, and of other spellings of the same numbers, does not.
func TestDifferencesFail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, expect string) string {
		file := filepath.Join(dir, name+".json")
		text := `{"name":"` + name + `","tasks":[{"id":"a","steps":[{"return":1}]}],"script":[{"op":"create","task":"a"},{"op":"await","target":"a"}]` + expect + `}`
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-redis", "embedded", "-fresh=false", "-scale", "0.5",
		write("none", ``),
		write("same", `,"expect":{"log":[{"op":"await","target":"a","value":1.0}],"final":{"a":{"value":1}}}`),
		write("other", `,"expect":{"log":[{"op":"await","target":"a","value":2}],"final":{"a":{"value":1}}}`),
	}, &stdout, &stderr)
	if code != 1 || strings.Count(stdout.String(), "\n") != 3 || stderr.String() != "other.log[0].value: expected 2, seen 1\n" {
		t.Errorf("exit %d\n%s%s", code, stdout.String(), stderr.String())
	}
}

// The runner runs no handler: without workers there is no answer, and no line.
func TestWithoutWorkersThereIsNoAnswer(t *testing.T) {
	t.Parallel()
	f := &fleet{}
	defer f.end()
	if err := f.embed(t.Context(), config{namespace: "others"}); err != nil { // a worker, but of another namespace
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	if code := run(ctx, []string{"-redis", f.url, "testdata/await-value.json"}, &stdout, &stderr); code != 1 || stdout.Len() > 0 {
		t.Errorf("exit %d\n%s%s", code, stdout.String(), stderr.String())
	}
}
