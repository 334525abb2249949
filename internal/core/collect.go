package core

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/gatherq/gatherq/internal/record"
)

// Bounds of what Take reads at once.
const (
	takeRanges = 256 // settled ranges of a page; one HMGET, so it stays well under a script's time
	takeShare  = 8   // ranges that one goroutine unpacks at a time
	fewRanges  = 16  // a page of so many is not worth other goroutines
)

// Take calls put for each member that is recorded and was not read before, and returns when there are no more; at least after a
// group's barrier these are all. Put is called from several goroutines, in no order; it must not keep its Fate, which is used again.
// The error is that of the reading, else the one of put about the earliest member in recording order.
func (m *Members) Take(ctx context.Context, put func(*Fate) error) error {
	if m.limit == 0 {
		m.limit = firstRanges
	}
	t := &taking{m: m, put: put, known: memo{}}
	defer t.wait()
	for more := true; more && !t.failed(); {
		var blobs [][]byte
		var err error
		if blobs, more, err = m.blobs(ctx, m.ranges, m.limit); err != nil {
			return err
		}
		m.adapt(blobs, takeRanges)
		m.ranges += len(blobs)
		if len(blobs) <= fewRanges {
			t.wait()
			t.unpack(ctx, blobs)
		} else {
			t.share(ctx, blobs)
		}
	}
	t.wait()
	m.order += t.taken
	m.done = max(m.done, m.order)
	return t.err
}

// TakeAll is Take for a group whose members have all ended: it returns when it has read them, or an error.
func (m *Members) TakeAll(ctx context.Context, put func(*Fate) error) error {
	for try := 0; m.order < m.total; try++ {
		before := m.order
		if err := m.Take(ctx, put); err != nil {
			return err
		}
		if m.order > before {
			continue
		}
		if err := m.missing(ctx, try); err != nil {
			return err
		}
	}
	return nil
}

// taking is one Take under way.
type taking struct {
	m     *Members
	put   func(*Fate) error
	tasks chan [][]byte
	wg    sync.WaitGroup

	mu    sync.Mutex
	known memo // groups that stand as members, read once
	taken int
	err   error
	at    int // place in recording order of the member that err is about

	panicked any
}

// share leaves the unpacking of a page to several goroutines, while the next is read. It waits where they are behind, so that two
// pages are in memory at most.
func (t *taking) share(ctx context.Context, blobs [][]byte) {
	if t.tasks == nil {
		t.tasks = make(chan [][]byte)
		for range runtime.GOMAXPROCS(0) {
			t.wg.Go(func() { t.work(ctx) })
		}
	}
	for len(blobs) > 0 {
		n := min(takeShare, len(blobs))
		t.tasks <- blobs[:n:n]
		blobs = blobs[n:]
	}
}

// work unpacks what is shared out. What a caller's decoding panics with is the caller's to see.
func (t *taking) work(ctx context.Context) {
	normal := false
	defer func() {
		if normal {
			return
		}
		v := recover()
		t.fail(0, errors.New("a value's decoding ended its goroutine"))
		t.mu.Lock()
		t.panicked = v
		t.mu.Unlock()
		for range t.tasks { // who shares out must not wait for ever
		}
	}()
	for part := range t.tasks {
		t.unpack(ctx, part)
	}
	normal = true
}

// wait returns when everything that was shared out has been unpacked.
func (t *taking) wait() {
	if t.tasks == nil {
		return
	}
	close(t.tasks)
	t.wg.Wait()
	t.tasks = nil
	if t.panicked != nil {
		panic(t.panicked)
	}
}

func (t *taking) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err != nil
}

func (t *taking) unpack(ctx context.Context, blobs [][]byte) {
	taken := 0
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.taken += taken
	}()
	size := 0
	for _, blob := range blobs {
		size += len(blob)
	}
	for _, blob := range blobs {
		if size > fewBytes && ctx.Err() != nil { // what is little is unpacked all the same: who gives up wants what is there
			t.fail(0, &EndedError{context.Cause(ctx)})
			return
		}
		r, err := record.ReadRange(t.m.id, blob)
		if err != nil {
			t.fail(0, err)
			return
		}
		var f Fate
		for r.More() {
			f = Fate{}
			if err := r.Next(&f.Outcome); err != nil {
				t.fail(0, err)
				return
			}
			f.member()
			taken++
			if f.Index >= t.m.total {
				t.fail(0, fmt.Errorf("member %d of group %s, which has %d", f.Index, f.Group, t.m.total))
				return
			}
			err := t.resolve(ctx, &f)
			if err == nil {
				err = t.put(&f)
			}
			if err != nil {
				t.fail(f.Order, err)
				return
			}
		}
	}
}

func (t *taking) resolve(ctx context.Context, f *Fate) error {
	if f.Link == "" {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.m.e.resolve(ctx, t.known, f)
}

// fail keeps the error about the earliest member; what is about the reading goes before it.
func (t *taking) fail(order int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil || order < t.at {
		t.err, t.at = err, order
	}
}
