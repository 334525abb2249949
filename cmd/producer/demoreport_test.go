package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/internal/tasks"
)

func TestRegularFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(path, text string) {
		t.Helper()
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("b.txt", "b")
	write("a/c.txt", "c")
	write(".hidden/d", "d")
	write("a/new\nline", "x")
	write("a/bad\xff", "x")
	if err := os.Symlink("b.txt", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..", filepath.Join(dir, "a", "loop")); err != nil {
		t.Fatal(err)
	}
	paths, skipped, err := regularFiles(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{".hidden/d", "a/c.txt", "a/new\nline", "b.txt"}; !slices.Equal(paths, want) {
		t.Errorf("found %q, want %q", paths, want)
	}
	if len(skipped) != 1 || !strings.Contains(skipped[0], "not UTF-8") {
		t.Errorf("skipped %q", skipped)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if through, _, err := regularFiles(t.Context(), link); err != nil || len(through) != len(paths) {
		t.Errorf("through a link: %q, %v", through, err)
	}
}

func TestMeasureDirectly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "abc"), []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	found := []demoFile{{path: "abc"}, {path: "missing"}}
	if err := measureDirectly(t.Context(), dir, found); err != nil {
		t.Fatal(err)
	}
	want := tasks.FileInfo{Size: 3, SHA256: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
	if found[0].own != want || found[0].ownErr != nil {
		t.Errorf("abc: %+v, %v", found[0].own, found[0].ownErr)
	}
	if !errors.Is(found[1].ownErr, os.ErrNotExist) {
		t.Errorf("missing: %v", found[1].ownErr)
	}
}

func TestDemoReport(t *testing.T) {
	t.Parallel()
	info := func(size, lines int64) tasks.FileInfo {
		return tasks.FileInfo{Size: size, Lines: lines, SHA256: strings.Repeat("5e", 32)}
	}
	same := func(path string, size, lines int64) demoFile {
		return demoFile{path: path, got: info(size, lines), own: info(size, lines)}
	}
	broken := errors.New("permission denied")
	for _, tc := range []struct {
		name   string
		found  []demoFile
		stdout string
		stderr string
		code   int
	}{
		{
			name: "none", stdout: `  size  lines  SHA-256  file

0 files, 0 B, 0 lines, gathered in 1.5s; the direct computation agrees
`,
		},
		{
			name:  "agreement",
			found: []demoFile{same("small", 1, 0), same("a/large", 1<<20+1<<19, 12_345), same("new\nline", 1023, 1)},
			stdout: `     size  lines       SHA-256  file
  1.5 MiB  12345  5e5e5e5e5e5e  a/large
   1023 B      1  5e5e5e5e5e5e  new\nline
      1 B      0  5e5e5e5e5e5e  small

3 files, 1.5 MiB, 12346 lines, gathered in 1.5s; the direct computation agrees
`,
		},
		{
			name: "both failed", found: []demoFile{{path: "x", gotErr: broken, ownErr: broken}},
			stdout: `  size  lines  SHA-256  file

0 files, 0 B, 0 lines, gathered in 1.5s; the direct computation agrees; 1 could not be read
`,
		},
		{
			name: "another size", found: []demoFile{same("y", 1, 1), {path: "x", got: info(2, 0), own: info(3, 0)}},
			code: cli.ExitFailed, stderr: "disagreement about x: the task found 2 bytes",
		},
		{
			name: "one side failed", found: []demoFile{{path: "x", gotErr: broken, own: info(0, 0)}},
			code: cli.ExitFailed, stderr: "disagreement about x: the task failed with permission denied; reading it directly found 0 bytes",
		},
		{
			name: "the other side failed, and the file was empty", found: []demoFile{{path: "x", ownErr: broken}},
			code: cli.ExitFailed, stderr: "disagreement about x",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			o, stdout, stderr := testOutput(false)
			err := o.demoReport(tc.found, 1500*time.Millisecond)
			_ = o.flush()
			if got := cli.Code(err); got != tc.code {
				t.Errorf("code %d, want %d", got, tc.code)
			}
			if tc.code == 0 && stdout.String() != tc.stdout {
				t.Errorf("stdout\n%s\nwant\n%s", stdout, tc.stdout)
			}
			if tc.code != 0 && !strings.Contains(stdout.String(), "DISAGREES about 1") {
				t.Errorf("stdout does not say it:\n%s", stdout)
			}
			if !strings.Contains(stderr.String(), tc.stderr) || tc.stderr == "" && stderr.Len() > 0 {
				t.Errorf("stderr %q, want %q", stderr, tc.stderr)
			}
		})
	}
}

func TestDemoReportJSON(t *testing.T) {
	t.Parallel()
	o, stdout, _ := testOutput(true)
	err := o.demoReport([]demoFile{
		{path: "a<b", got: tasks.FileInfo{Size: 1, SHA256: "x"}, own: tasks.FileInfo{Size: 1, SHA256: "x"}},
		{path: "c", gotErr: errors.New("gone")},
	}, time.Second)
	_ = o.flush()
	want := `{"path":"a<b","size":1,"lines":0,"sha256":"x","agrees":true}
{"path":"c","error":"gone","agrees":false}
{"files":1,"bytes":1,"lines":0,"unreadable":1,"seconds":1,"agrees":false,"disagree":1}
`
	if stdout.String() != want {
		t.Errorf("got\n%s\nwant\n%s", stdout, want)
	}
	if cli.Code(err) != cli.ExitFailed {
		t.Errorf("error %v", err)
	}
}

func TestBytesFor(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1.0 MiB", 1 << 20: "1.0 MiB", 1 << 40: "1.0 TiB", 1<<63 - 1: "8.0 EiB",
	} {
		if got := bytesFor(n); got != want {
			t.Errorf("bytesFor(%d) = %q, want %q", n, got, want)
		}
	}
}
