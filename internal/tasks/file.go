package tasks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// FileArgs are the arguments of File.
type FileArgs struct {
	// Path is relative to the worker's root, or absolute and inside it.
	Path string `json:"path"`
}

// UnmarshalJSON refuses unknown fields and an empty path.
func (a *FileArgs) UnmarshalJSON(data []byte) error {
	type plain FileArgs
	if err := unmarshalStrict(data, (*plain)(a)); err != nil {
		return err
	}
	if a.Path == "" {
		return errors.New("path is empty")
	}
	return nil
}

// FileInfo is the result of File.
type FileInfo struct {
	Size   int64  `json:"size"`   // bytes that were read
	Lines  int64  `json:"lines"`  // newline characters among them, as wc -l counts
	SHA256 string `json:"sha256"` // hexadecimal
}

// File measures one regular file below the worker's root. It reads in pieces, so a file of any size takes little memory, and
// never leaves the root, also not through a symbolic link.
var File = jobs.Define[FileArgs, FileInfo]("file")

// fileReader reads files below a root.
type fileReader struct {
	given string // as an absolute path
	real  string // with its symbolic links followed
}

func newFileReader(root string) (*fileReader, error) {
	given, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("--file-root: %w", err)
	}
	real, err := filepath.EvalSymlinks(given)
	if err != nil {
		return nil, fmt.Errorf("--file-root: %w", err)
	}
	r, err := os.OpenRoot(real)
	if err != nil {
		return nil, fmt.Errorf("--file-root: %w", err)
	}
	return &fileReader{given: given, real: real}, r.Close()
}

func (f *fileReader) handle(ctx context.Context, args FileArgs) (FileInfo, error) {
	file, err := f.open(args.Path)
	if err != nil {
		return FileInfo{}, err
	}
	defer file.Close()
	return measure(ctx, file)
}

// open opens a regular file below the root. What can never succeed is permanent; what the system refused (not there, no
// permission, too many files) may be tried again.
func (f *fileReader) open(path string) (*os.File, error) {
	path, err := f.relative(path)
	if err != nil {
		return nil, jobs.Permanent(err)
	}
	// The root is opened anew each time: it may have been mounted or replaced since.
	root, err := os.OpenRoot(f.real)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(path) // opening a device or a pipe may already have an effect
	if err != nil {
		return nil, classify(err)
	}
	if err := regular(path, info); err != nil {
		return nil, err
	}
	// O_NONBLOCK: should a pipe have taken its place meanwhile, opening it must not wait for a writer.
	file, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, classify(err)
	}
	if info, err = file.Stat(); err == nil {
		err = regular(path, info)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// relative returns path as os.Root wants it.
func (f *fileReader) relative(path string) (string, error) {
	if !filepath.IsAbs(path) {
		return path, nil
	}
	for _, root := range []string{f.given, f.real} {
		if rel, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(rel) {
			return rel, nil
		}
	}
	return "", fmt.Errorf("path %q is outside --file-root", path)
}

// classify marks what is no answer of the system as permanent: a path that leaves the root, or is none.
func classify(err error) error {
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return err
	}
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		return err
	}
	return jobs.Permanent(err)
}

func regular(path string, info os.FileInfo) error {
	if info.IsDir() {
		return jobs.Permanent(fmt.Errorf("path %q is a directory", path))
	}
	if !info.Mode().IsRegular() {
		return jobs.Permanent(fmt.Errorf("path %q is not a regular file", path))
	}
	return nil
}

func measure(ctx context.Context, r io.Reader) (FileInfo, error) {
	var info FileInfo
	sum := sha256.New()
	buf := make([]byte, 128<<10)
	for {
		if ctx.Err() != nil {
			return FileInfo{}, context.Cause(ctx)
		}
		n, err := r.Read(buf)
		info.Size += int64(n)
		info.Lines += int64(bytes.Count(buf[:n], []byte{'\n'}))
		sum.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			info.SHA256 = hex.EncodeToString(sum.Sum(nil))
			return info, nil
		}
		if err != nil {
			return FileInfo{}, err
		}
	}
}
