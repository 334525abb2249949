package tasks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
)

// layout makes a root with files, links and a pipe in it, and a secret beside it.
func layout(t *testing.T) (root string) {
	t.Helper()
	base := t.TempDir()
	root = filepath.Join(base, "root")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "sub"), 0o755))
	must(os.WriteFile(filepath.Join(base, "secret"), []byte("secret"), 0o600))
	must(os.WriteFile(filepath.Join(root, "a.txt"), []byte("one\ntwo\nthree"), 0o600))
	must(os.WriteFile(filepath.Join(root, "sub", "empty"), nil, 0o600))
	must(os.WriteFile(filepath.Join(root, "sub", "big"), bytes.Repeat([]byte("0123456789abcde\n"), 1<<17), 0o600))
	must(os.Symlink("../secret", filepath.Join(root, "out")))
	must(os.Symlink(filepath.Join(base, "secret"), filepath.Join(root, "abs")))
	must(os.Symlink("..", filepath.Join(root, "up")))
	must(os.Symlink("../a.txt", filepath.Join(root, "sub", "inside")))
	must(os.Symlink(root, filepath.Join(base, "link")))
	must(syscall.Mkfifo(filepath.Join(root, "pipe"), 0o600))
	return root
}

func TestFile(t *testing.T) {
	root := layout(t)
	sum := func(b []byte) string {
		s := sha256.Sum256(b)
		return hex.EncodeToString(s[:])
	}
	small := FileInfo{Size: 13, Lines: 2, SHA256: sum([]byte("one\ntwo\nthree"))}
	tests := []struct {
		path      string
		want      FileInfo
		fail      string
		permanent bool
	}{
		{path: "a.txt", want: small},
		{path: "./sub/../a.txt", want: small},
		{path: "sub/inside", want: small},
		{path: filepath.Join(root, "a.txt"), want: small},
		{path: filepath.Join(root, "sub", "..", "a.txt"), want: small},
		{path: "sub/empty", want: FileInfo{SHA256: sum(nil)}},
		{path: "sub/big", want: FileInfo{Size: 2 << 20, Lines: 1 << 17, SHA256: sum(bytes.Repeat([]byte("0123456789abcde\n"), 1<<17))}},
		{path: "../secret", fail: "escapes", permanent: true},
		{path: "sub/../../secret", fail: "escapes", permanent: true},
		{path: "out", fail: "escapes", permanent: true},
		{path: "abs", fail: "escapes", permanent: true},
		{path: "up/secret", fail: "escapes", permanent: true},
		{path: filepath.Join(filepath.Dir(root), "secret"), fail: "outside", permanent: true},
		{path: root + "x/a.txt", fail: "outside", permanent: true},
		{path: "/dev/zero", fail: "outside", permanent: true},
		{path: ".", fail: "directory", permanent: true},
		{path: "sub", fail: "directory", permanent: true},
		{path: root, fail: "directory", permanent: true},
		{path: "pipe", fail: "not a regular file", permanent: true},
		{path: "none", fail: "no such file"},
		{path: "a.txt/x", fail: "not a directory"},
		{path: "a\x00b", fail: "invalid"},
	}
	for _, given := range []string{root, filepath.Join(filepath.Dir(root), "link")} {
		reader, err := newFileReader(given)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range tests {
			got, err := reader.handle(context.Background(), FileArgs{Path: tt.path})
			if tt.fail == "" {
				if err != nil || got != tt.want {
					t.Errorf("%q: %+v, %v; want %+v", tt.path, got, err, tt.want)
				}
				continue
			}
			if err == nil || !strings.Contains(err.Error(), tt.fail) {
				t.Errorf("%q: error %v, want %q", tt.path, err, tt.fail)
			} else if isPermanent(err) != tt.permanent && tt.fail != "invalid" {
				t.Errorf("%q: permanent %v, want %v", tt.path, isPermanent(err), tt.permanent)
			}
		}
	}
}

func TestFileRootRefused(t *testing.T) {
	root := layout(t)
	for _, path := range []string{filepath.Join(root, "none"), filepath.Join(root, "a.txt")} {
		if _, err := newFileReader(path); err == nil || !strings.Contains(err.Error(), "--file-root") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestFileEndsWithItsContext(t *testing.T) {
	reader, err := newFileReader(layout(t))
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(why)
	if _, err := reader.handle(ctx, FileArgs{Path: "a.txt"}); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}

// TestArgsAreStrict checks every arguments type: a misspelt field is refused, never ignored.
func TestArgsAreStrict(t *testing.T) {
	tests := []struct {
		into any
		good string
		bad  []string
	}{
		{new(SleepArgs), `{"ms":86400000}`, []string{`{"ms":-1}`, `{"ms":86400001}`, `{"ms":1.5}`, `{"mss":1}`, `{"ms":"1"}`, `[]`, `7`}},
		{new(FileArgs), `{"path":"x"}`, []string{`{}`, `{"path":""}`, `{"path":"x","y":1}`, `"x"`}},
		{new(ExecArgs), `{"name":"x","args":{"a":1},"stdin":"y"}`, []string{`{}`, `{"name":"x","arg":{}}`, `{"name":1}`}},
		{new(HTTPArgs), `{"url":"http://x","method":"PUT","headers":{"a":"b"},"body":{}}`, []string{`{}`, `{"url":"x","header":{}}`, `{"url":"x","headers":{"a":1}}`}},
	}
	for _, tt := range tests {
		if err := json.Unmarshal([]byte(tt.good), tt.into); err != nil {
			t.Errorf("%T: %s: %v", tt.into, tt.good, err)
		}
		for _, bad := range tt.bad {
			if err := json.Unmarshal([]byte(bad), reflect.New(reflect.TypeOf(tt.into).Elem()).Interface()); err == nil {
				t.Errorf("%T: %s is accepted", tt.into, bad)
			}
		}
	}
}
