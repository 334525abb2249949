package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"unicode/utf8"

	"github.com/gatherq/gatherq/internal/tasks"
)

// regularFiles returns the paths, with slashes and below dir, of all regular files there, and what it had to leave out. Symbolic links are
// not followed, but for dir itself.
func regularFiles(ctx context.Context, dir string) (paths, skipped []string, err error) {
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, nil, err
	}
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("%s: %v", path, err))
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		below, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if !utf8.ValidString(below) {
			skipped = append(skipped, fmt.Sprintf("%q: its name is not UTF-8, which JSON cannot hold", below))
			return nil
		}
		paths = append(paths, filepath.ToSlash(below))
		return nil
	})
	return paths, skipped, err
}

// measureDirectly reads all files itself, without gatherq and without its code for it.
func measureDirectly(ctx context.Context, dir string, found []demoFile) error {
	var all sync.WaitGroup
	next := make(chan *demoFile)
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for f := range next {
				f.own, f.ownErr = measureFile(filepath.Join(dir, filepath.FromSlash(f.path)))
			}
		})
	}
	defer all.Wait()
	defer close(next)
	for i := range found {
		select {
		case next <- &found[i]:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func measureFile(path string) (tasks.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return tasks.FileInfo{}, err
	}
	defer func() { _ = f.Close() }()
	sum, count := sha256.New(), &lineCounter{}
	size, err := io.Copy(io.MultiWriter(sum, count), f)
	if err != nil {
		return tasks.FileInfo{}, err
	}
	return tasks.FileInfo{Size: size, Lines: count.n, SHA256: hex.EncodeToString(sum.Sum(nil))}, nil
}

// lineCounter counts the line ends written to it.
type lineCounter struct{ n int64 }

// Write implements io.Writer.
func (c *lineCounter) Write(p []byte) (int, error) {
	c.n += int64(bytes.Count(p, []byte{'\n'}))
	return len(p), nil
}
