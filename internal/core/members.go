package core

import (
	"context"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Bounds of one page of members: what is in memory at a time, and what one script reads.
const (
	firstRanges, mostRanges   = 4, 64     // of a page in recording order: settled ranges
	firstMembers, mostMembers = 64, 1000  // of a page in call order
	fewBytes                  = 256 << 10 // a page that held less may be followed by a larger one
	manyBytes                 = 2 << 20   // one that held more by a smaller one
)

// How long to let a group go on when its next member in call order is still open though others have ended.
const (
	shortPause = 5 * time.Millisecond
	longPause  = 50 * time.Millisecond
)

// Members reads the members of one group, page by page, in one of the two orders. It is for one goroutine.
type Members struct {
	e     *Engine
	id    string
	limit int // of the next page; 0: the first
	seen  bool
	total int // of members
	done  int // recorded, as far as is known
	last  int // recorded, by the last look
	short int // 1 + order when a look last said that more is recorded, and nothing of it was there; 0: then it did not

	ranges int // settled ranges read, in recording order
	order  int // place in recording order of the last member that was returned
}

// OpenMembers looks at the group behind h.
func OpenMembers(ctx context.Context, h Handle) (*Members, error) {
	r, err := RefOf(h)
	if err != nil {
		return nil, err
	}
	m := &Members{e: r.engine, id: r.id}
	return m, m.look(ctx)
}

// EndedMembers is OpenMembers of a group of which f, from Await, says that all its members have ended. It does no I/O.
func EndedMembers(h Handle, f *Fate) (*Members, error) {
	r, err := RefOf(h)
	if err != nil {
		return nil, err
	}
	return &Members{e: r.engine, id: r.id, seen: true, total: f.Total, done: f.Total}, nil
}

// Total returns how many members the group has.
func (m *Members) Total() int { return m.total }

// ID returns the group's ID.
func (m *Members) ID() string { return m.id }

func (m *Members) look(ctx context.Context) error {
	if m.e.Closed() {
		return face.Trouble(kindClosed, m.id, nil)
	}
	var answers []record.Answer
	err := m.e.patiently(ctx, func(ctx context.Context) (err error) {
		answers, err = m.e.records.Watch(ctx, "", []record.Interest{{ID: m.id, View: record.OutcomeView}})
		return err
	})
	if err != nil {
		return m.e.trouble(ctx, m.id, err)
	}
	m.last = answers[0].Done
	return m.note(ctx, &answers[0])
}

// missing finds out why what was told of is not there. The group may have just gone, or have fewer members recorded: Redis has gone back. Else
// a part of its results has gone, which nothing brings back; that is so when what a look says is recorded is not there behind that look.
func (m *Members) missing(ctx context.Context, try int) error {
	sure := m.short == m.order+1
	if err := m.look(ctx); err != nil {
		return err
	}
	m.short = 0
	if m.last > m.order {
		if sure {
			return m.gone(record.Expired)
		}
		m.short = m.order + 1
	}
	return m.pause(ctx, try)
}

// note takes in what an answer says of the whole group.
func (m *Members) note(ctx context.Context, a *record.Answer) error {
	switch a.Status {
	case record.IsExpired:
		return m.gone(record.Expired)
	case record.IsUnknown:
		if m.seen {
			return m.gone(record.Lost)
		}
		if err := m.e.unknown(ctx, m.id); err != nil {
			return err
		}
		return face.Trouble(kindUnknown, m.id, nil)
	}
	if a.Outcome.State == record.Lost {
		return m.gone(record.Lost)
	}
	m.seen = true
	m.total, m.done = max(m.total, a.Members), max(m.done, a.Done)
	return nil
}

// gone is the error of a group that was there, or that has left a tombstone.
func (m *Members) gone(s record.State) error {
	return face.Failure(&Fate{Outcome: record.Outcome{ID: m.id, State: s, Failure: &record.Failure{Kind: string(s)}}})
}

// wait blocks until more than after members are recorded.
func (m *Members) wait(ctx context.Context, after int) error {
	a, err := m.e.inbox.Wait(ctx, record.Interest{ID: m.id, View: record.ProgressView, After: after})
	if err != nil {
		return m.e.trouble(ctx, m.id, err)
	}
	return m.note(ctx, a)
}

// Seek makes Recorded and Present go on behind a place in recording order.
func (m *Members) Seek(ctx context.Context, order int) error {
	// Each settled range holds one member at least, so the one that holds this place is found between none and as many ranges.
	low, high := 0, min(order+1, m.done)
	for low < high {
		mid := (low + high + 1) / 2
		blobs, _, err := m.blobs(ctx, mid-1, 1)
		if err != nil {
			return err
		}
		first := 0 // its place in recording order
		if len(blobs) > 0 {
			if first, err = record.FirstOrder(m.id, blobs[0]); err != nil {
				return err
			}
		}
		if order > 0 && first > 0 && first <= order+1 {
			low = mid
		} else {
			high = mid - 1
		}
	}
	m.ranges, m.order = max(low-1, 0), order
	return nil
}

// Recorded blocks until more members are recorded, and returns some, in that order. At the group's end it returns none.
func (m *Members) Recorded(ctx context.Context) ([]Fate, error) {
	for try := 0; m.order < m.total; try++ {
		if m.order >= m.done {
			if err := m.wait(ctx, m.order); err != nil {
				return nil, err
			}
		}
		page, err := m.Present(ctx)
		if err != nil || len(page) > 0 {
			return page, err
		}
		if err := m.missing(ctx, try); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// Present is Recorded without blocking: none means that nothing more is recorded.
func (m *Members) Present(ctx context.Context) ([]Fate, error) { return m.page(ctx, memo{}) }

func (m *Members) page(ctx context.Context, known memo) ([]Fate, error) {
	if m.limit == 0 {
		m.limit = firstRanges
	}
	for {
		blobs, _, err := m.blobs(ctx, m.ranges, m.limit)
		if err != nil || len(blobs) == 0 {
			return nil, err
		}
		m.adapt(blobs, mostRanges)
		m.ranges += len(blobs)
		fates, err := m.unpack(ctx, known, blobs)
		if err != nil {
			return nil, err
		}
		if len(fates) == 0 {
			continue // all of it lies before the place that was sought
		}
		m.order = fates[len(fates)-1].Order
		m.done = max(m.done, m.order)
		return fates, nil
	}
}

// unpack returns the members in settled ranges that lie behind m.order, those that are groups with their values.
func (m *Members) unpack(ctx context.Context, known memo, blobs [][]byte) (fates []Fate, err error) {
	for _, blob := range blobs {
		r, err := record.ReadRange(m.id, blob)
		for err == nil && r.More() {
			fates = append(fates, Fate{})
			f := &fates[len(fates)-1]
			if err = r.Next(&f.Outcome); err == nil && f.Order <= m.order {
				fates = fates[:len(fates)-1]
				continue
			}
			if err == nil {
				f.member()
				err = m.e.resolve(ctx, known, f)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return fates, nil
}

// blobs reads settled ranges behind the first after.
func (m *Members) blobs(ctx context.Context, after, limit int) (blobs [][]byte, more bool, err error) {
	err = m.e.patiently(ctx, func(ctx context.Context) (err error) {
		blobs, more, err = m.e.groups.Ranges(ctx, m.id, after, limit)
		return err
	})
	if err != nil {
		return nil, false, m.e.trouble(ctx, m.id, err)
	}
	return blobs, more, nil
}

// InOrder blocks until the member at place from has ended, and returns it and those that follow and have ended, too. At the
// group's end it returns none.
func (m *Members) InOrder(ctx context.Context, from int) ([]Fate, error) {
	if m.limit == 0 {
		m.limit = firstMembers
	}
	for try := 0; from < m.total; try++ {
		count := min(m.limit, m.total-from)
		if try > 0 {
			count = 1 // what lies behind it was read before, for nothing
		}
		known := m.done
		var outs []record.Outcome
		err := m.e.patiently(ctx, func(ctx context.Context) (err error) {
			outs, err = m.e.groups.ByIndex(ctx, m.id, from, count)
			return err
		})
		if err != nil {
			return nil, m.e.trouble(ctx, m.id, err)
		}
		size := 0
		for i := range outs {
			size += len(outs[i].Value)
		}
		m.resize(size, len(outs), mostMembers)
		ended := 0
		for ended < len(outs) && outs[ended].State.Final() {
			ended++
		}
		if ended > 0 {
			return m.e.dress(ctx, memo{}, outs[:ended])
		}
		if known >= m.total { // all have ended, and this one is not there
			if err := m.look(ctx); err != nil {
				return nil, err
			}
		} else if err := m.wait(ctx, known); err != nil {
			return nil, err
		}
		if try > 0 {
			if err := m.pause(ctx, try); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

// pause keeps a reader from asking once for each member that ends somewhere else in the group.
func (m *Members) pause(ctx context.Context, try int) error {
	timer := time.NewTimer(min(shortPause<<min(try, 8), longPause))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return &EndedError{context.Cause(ctx)}
	}
}

// adapt chooses the size of the next page of ranges by the bytes of this one.
func (m *Members) adapt(blobs [][]byte, most int) {
	size := 0
	for _, b := range blobs {
		size += len(b)
	}
	m.resize(size, len(blobs), most)
}

func (m *Members) resize(size, got, most int) {
	switch {
	case size > manyBytes:
		m.limit = max(m.limit/2, 1)
	case size < fewBytes && got == m.limit:
		m.limit = min(m.limit*2, most)
	}
}
