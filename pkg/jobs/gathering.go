package jobs

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/names"
	"github.com/gatherq/gatherq/internal/record"
)

// rollbackLimit bounds the removal of a staging; what is left of it goes by itself after a minute.
const rollbackLimit = 5 * time.Second

// renewEvery is how often a staging is renewed whose source is slow: a few times within group.StagingTTL.
const renewEvery = group.StagingTTL / 4

// lookahead is how many members that exist may stand before the first call, which says what the group's calls have in common.
const lookahead = 1000

// weighEvery is how many bytes of a stream are staged before Redis is asked whether it has room for more.
const weighEvery = 1 << 20

// gathering is one gather under way.
type gathering struct {
	c    *Client
	id   string
	opts []GatherOption
	of   settings // the group's

	maker maker
	early []group.Member // members before the stage was opened
	count int

	mu      sync.Mutex // of the stage, which a timer renews
	stage   *group.Stage
	weighed int64 // bytes of a stream for which Redis was found to have room
	renewal *time.Timer
	over    bool

	ids    map[string]string // digests of the calls with IDs of their own
	asked  []record.NewTask  // those that Redis has not been asked about yet
	places []int             // of asked
}

func newGathering(c *Client, opts []GatherOption) (*gathering, error) {
	if err := c.usable(); err != nil {
		return nil, err
	}
	g := &gathering{c: c, opts: opts, of: newSettings(c.cfg.Retention)}
	g.maker.g = g
	r := g.of.gather(opts)
	if r == nil {
		r = checkKind(g.of.id, taskPrefix)
	}
	if r != nil {
		return nil, g.refuse(r)
	}
	if g.id = g.of.id; g.id == "" {
		g.id = groupPrefix + newUUID()
	}
	return g, nil
}

func (g *gathering) refuse(r *RejectedError) error {
	g.c.refused.Add(1)
	return r
}

// stream stages members as they come, and commits.
func (g *gathering) stream(ctx context.Context, parts iter.Seq2[part, error]) error {
	return g.run(ctx, func() error {
		for p, err := range parts {
			if err == nil {
				err = g.add(ctx, &p)
			}
			if err != nil {
				return err
			}
		}
		return g.open(ctx, nil, 0)
	})
}

// gather encodes all members before it stages the first, so that what is wrong with one of them is said before anything is stored.
func (g *gathering) gather(ctx context.Context, n int, at func(i int) (part, *RejectedError)) error {
	return g.run(ctx, func() error {
		first, r := g.first(n, at)
		if r != nil {
			return r
		}
		all := &packing{g: g, n: n, at: at, queue: g.spec(first).Queue, keep: packKept}
		if err := all.run(ctx); err != nil {
			return err
		}
		for i := range all.named {
			if err := g.own(ctx, &all.named[i].member, all.named[i].at); err != nil {
				return err
			}
		}
		if err := g.known(ctx); err != nil {
			return err
		}
		if err := g.open(ctx, first, all.kept.Load()); err != nil {
			return err
		}
		return all.each(ctx, func(p *group.Packed) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.stage.Put(ctx, p)
		})
	})
}

// first returns the first call's profile, nil if there are no calls.
func (g *gathering) first(n int, at func(i int) (part, *RejectedError)) (*group.Profile, *RejectedError) {
	for i := range n {
		p, r := at(i)
		if r == nil && p.call == nil {
			continue
		}
		var plan *plan
		if r == nil {
			plan, r = g.maker.plan(p.call)
		}
		if r != nil {
			return nil, r.at(i)
		}
		return plan.profile, nil
	}
	return nil, nil
}

// run stages all members and commits. When it does not commit, nothing of the group remains.
func (g *gathering) run(ctx context.Context, stage func() error) (err error) {
	committed := false
	defer func() { // also when the caller's sequence panics
		g.mu.Lock()
		defer g.mu.Unlock()
		g.over = true
		if g.renewal != nil {
			g.renewal.Stop()
		}
		if !committed {
			g.c.refused.Add(1)
			g.rollback(ctx)
		}
	}()
	if err := stage(); err != nil {
		return g.failed(err)
	}
	if err := g.known(ctx); err != nil {
		return g.failed(err)
	}
	done, err := g.commit(ctx)
	if err != nil {
		if lost, ok := errors.AsType[*conn.Error](err); !done.Stored || !ok || !lost.Doubt {
			return g.failed(err)
		}
		committed = true // perhaps: what was staged may be the group's by now
		return unanswered(g.id, err)
	}
	if err := conflict(g.id, done.Status); err != nil {
		return err
	}
	committed = true
	g.c.gathered.Add(1)
	return notDurable(g.id, done.Short)
}

// failed is the error of a gather that has not come to its commit: whatever Redis did not answer, there is no group.
func (g *gathering) failed(err error) error {
	switch e := err.(type) { //nolint:errorlint // made here, never wrapped
	case *sourceError:
		return e.error
	case *RejectedError:
		if e.listed || e.whole {
			return e
		}
		return e.at(g.count)
	}
	return unstored(g.id, err)
}

// add stages one member.
func (g *gathering) add(ctx context.Context, p *part) error {
	if g.count == names.MaxMembers {
		return between("members", g.count+1, 0, names.MaxMembers)
	}
	if g.count&63 == 0 && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m, r := g.maker.member(p)
	if r != nil {
		return r
	}
	if m.ID != "" {
		if err := g.own(ctx, &m, g.count); err != nil {
			return err
		}
	}
	g.count++
	if g.stage == nil {
		if p.call == nil && len(g.early) < lookahead {
			g.early = append(g.early, m)
			return nil
		}
		if err := g.open(ctx, m.Profile, 0); err != nil {
			return err
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if more := g.stage.Bytes() - g.weighed; more >= weighEvery {
		g.weighed += more
		if err := g.c.engine.Room(ctx, more); err != nil {
			return err
		}
	}
	return g.stage.Add(ctx, m)
}

func (g *gathering) commit(ctx context.Context) (group.Committed, error) {
	if err := g.c.agree(ctx); err != nil {
		return group.Committed{}, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	return g.stage.Commit(ctx, g.c.engine.Carrier())
}

// own notes a call with an ID of its own. It becomes a task of that ID after the commit, so what is there under this ID must be
// known before.
func (g *gathering) own(ctx context.Context, m *group.Member, at int) error {
	if before, ok := g.ids[m.ID]; ok {
		if before != string(m.Digest) {
			return conflict(m.ID, record.ConflictArgs)
		}
		return nil // the same task at another place
	}
	if g.ids == nil {
		g.ids = map[string]string{}
	}
	g.ids[m.ID] = string(m.Digest)
	g.asked = append(g.asked, record.NewTask{ID: m.ID, Digest: bytes.Clone(m.Digest), OnConflict: m.OnConflict})
	g.places = append(g.places, at)
	if len(g.asked) < createBatch {
		return nil
	}
	return g.known(ctx)
}

// known asks Redis about the IDs noted.
func (g *gathering) known(ctx context.Context) error {
	if len(g.asked) == 0 {
		return nil
	}
	found, err := g.c.engine.Records().Known(ctx, g.asked...)
	if err != nil {
		return err
	}
	for i, status := range found {
		if err := conflict(g.asked[i].ID, status); err != nil {
			return placed(err, g.places[i])
		}
	}
	g.asked, g.places = g.asked[:0], g.places[:0]
	return nil
}

// open begins the staging, if it has not begun, with what the first call has in common with most others: members of another
// queue travel alone. First is its profile, nil where there are no calls; bytes are those to stage, as far as they are known.
func (g *gathering) open(ctx context.Context, first *group.Profile, bytes int64) error {
	if g.stage != nil {
		return nil
	}
	// Only at the commit something of the namespace is written for good.
	if err := g.c.ready(ctx, bytes+taskBytes); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stage = g.c.engine.Groups().Stage(g.spec(first))
	g.renewal = time.AfterFunc(renewEvery, func() { g.renew(ctx) })
	for _, m := range g.early {
		if err := g.stage.Add(ctx, m); err != nil {
			return err
		}
	}
	g.early = nil
	return nil
}

// spec is the group whose first call has that profile.
func (g *gathering) spec(first *group.Profile) group.Spec {
	spec := group.Spec{
		ID: g.id, Generated: g.of.id == "", Queue: g.of.queue, Options: g.of.task.Encode(), Retention: g.of.retention, MaxPending: g.of.maxPending,
		Delay: g.of.delay, At: g.of.at, Deadline: g.of.deadline, OnConflict: g.of.onConflict(),
		MaxRunning: g.of.maxRunning,
	}
	if first != nil {
		spec.Queue, spec.Options, spec.MaxPending = first.Queue, first.Options, first.MaxPending
	}
	return spec
}

// renew keeps the staging alive while the source of the members takes its time.
func (g *gathering) renew(ctx context.Context) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over || ctx.Err() != nil {
		return
	}
	if err := g.stage.Renew(ctx); err != nil {
		g.c.cfg.Logger.Debug("a staging was not renewed", "group", g.id, "err", err)
	}
	g.renewal.Reset(renewEvery)
}

// rollback removes what was staged. A caller whose context is over does not wait for it.
func (g *gathering) rollback(ctx context.Context) {
	st := g.stage
	if st == nil {
		return
	}
	if ctx.Err() != nil {
		g.c.aside(rollbackLimit, st.Rollback)
		return
	}
	limited, stop := context.WithTimeout(ctx, rollbackLimit)
	defer stop()
	st.Rollback(limited)
}
