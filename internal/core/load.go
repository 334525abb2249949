package core

import (
	"context"

	"github.com/gatherq/gatherq/internal/inbox"
	"github.com/gatherq/gatherq/internal/record"
)

// memo holds the groups that one read has met, so that one that stands at many places is read once.
type memo map[memoKey]*Fate

type memoKey struct {
	id    string
	items bool
}

// LoadGroup reads the value of a group or of its Settled view, which has succeeded, into f: all members, and those of the groups
// among them. Where the group has gone meanwhile, f says so. A task's value is there already.
func LoadGroup(ctx context.Context, h Handle, f *Fate) error {
	r, err := RefOf(h)
	if err != nil || r.kind == Task {
		return err
	}
	got, err := r.engine.list(ctx, memo{}, r.id, r.kind == Settled)
	if err != nil {
		return err
	}
	if got.State != record.Succeeded {
		f.State, f.Failure = got.State, got.Failure
	}
	f.Raw = got.Raw
	return nil
}

// resolve reads the value of a member that is another group's.
func (e *Engine) resolve(ctx context.Context, m memo, f *Fate) error {
	if f.Link == "" || f.State != record.Succeeded {
		return nil
	}
	got, err := e.list(ctx, m, f.Link, f.LinkSettled)
	if err != nil {
		return err
	}
	if got.State != record.Succeeded {
		f.State, f.Failure = got.State, got.Failure
	}
	f.Raw = got.Raw
	return nil
}

// list reads a group that has ended as a value. The Fate says succeeded, or expired where the members are gone.
func (e *Engine) list(ctx context.Context, m memo, id string, items bool) (*Fate, error) {
	key := memoKey{id, items}
	if f, ok := m[key]; ok {
		return f, nil
	}
	f := &Fate{Outcome: record.Outcome{ID: id, State: record.Succeeded}, Raw: Raw{IsList: true, Items: items}}
	m[key] = f
	var answers []record.Answer
	err := e.patiently(ctx, func(ctx context.Context) (err error) {
		answers, err = e.records.Watch(ctx, "", []record.Interest{{ID: id, View: record.BarrierView}})
		return err
	})
	if err != nil {
		return nil, e.trouble(ctx, id, err)
	}
	total := answers[0].Members
	f.Raw.List = make([]Fate, total)
	reader := Members{e: e, id: id, total: total}
	got := 0
	if s := answers[0].Status; s != record.HasEnded {
		got = -1
	}
	for got >= 0 && got < total {
		page, err := reader.page(ctx, m)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break // its time to live ended while we read
		}
		for i := range page {
			if at := page[i].Index; at >= 0 && at < total {
				f.Raw.List[at] = page[i]
			}
		}
		got += len(page)
	}
	if got < total || got < 0 {
		f.State, f.Failure = record.Expired, &record.Failure{Kind: string(record.Expired)}
		f.Raw = Raw{}
	}
	return f, nil
}

// dress makes outcomes of a group's members fates, those of groups with their values.
func (e *Engine) dress(ctx context.Context, m memo, outs []record.Outcome) ([]Fate, error) {
	fates := make([]Fate, len(outs))
	for i := range outs {
		fates[i].Outcome = outs[i]
		fates[i].member()
		if err := e.resolve(ctx, m, &fates[i]); err != nil {
			return nil, err
		}
	}
	return fates, nil
}

// patiently repeats a read that Redis does not answer until the patience for awaits is over, or ctx, or the engine.
func (e *Engine) patiently(ctx context.Context, read func(context.Context) error) error {
	limit := e.patience
	if _, ever := e.conn.LastAnswer(); !ever {
		limit = min(limit, inbox.FirstContact)
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	defer context.AfterFunc(e.life, cancel)()
	for {
		err := read(limited)
		if err == nil || limited.Err() != nil || !noAnswer(err) {
			return err
		}
	}
}
