package jobs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gatherq/gatherq/internal/core"
	"github.com/gatherq/gatherq/internal/group"
	"github.com/gatherq/gatherq/internal/record"
)

// plan is what the options of a call come to.
type plan struct {
	id       string
	profile  *group.Profile
	typ      string
	defaults []Option
	plain    bool // no options of its own: it holds for all calls of the definition
}

// maker makes what is staged of parts. It is for one goroutine.
type maker struct {
	g    *gathering
	last *plan // of a plain call

	args, hashed, wrapped []byte
	sum                   [sha256.Size]byte
}

// plan resolves the options of a call. Those of calls without options of their own are looked at once for each definition.
func (m *maker) plan(c *callSpec) (*plan, *RejectedError) {
	if p := m.last; p != nil && c.made && len(c.opts) == 0 && c.typ == p.typ && sameOptions(c.defaults, p.defaults) {
		return p, nil
	}
	s, r := c.resolve(m.g.c.cfg.Retention, m.g.opts)
	if r == nil {
		r = checkKind(s.id, groupPrefix)
	}
	if r == nil && s.id != "" && s.id == m.g.id {
		r = rejected("id", s.id+" is the group's own")
	}
	if r != nil {
		return nil, r
	}
	p := &plan{id: s.id, typ: c.typ, defaults: c.defaults, plain: len(c.opts) == 0, profile: &group.Profile{
		Type: c.typ, Queue: s.queue, Options: s.task.Encode(), Delay: s.delay, At: s.at, Deadline: s.deadline, Retention: s.retention,
		MaxPending: s.maxPending, OnConflict: s.onConflict(),
	}}
	if p.plain {
		m.last = p
	}
	return p, nil
}

// sameOptions reports whether two definitions' options are the very same list.
func sameOptions(a, b []Option) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

// member makes what is staged of a part. Its bytes hold until the next call.
func (m *maker) member(p *part) (group.Member, *RejectedError) {
	if p.ref != nil {
		return m.g.link(p.ref)
	}
	of, r := m.plan(p.call)
	if r != nil {
		return group.Member{}, r
	}
	if m.args, r = appendArgs(m.args[:0], p.call.args, m.g.c.cfg.MaxArgs); r != nil {
		return group.Member{}, r
	}
	m.hashed = append(append(append(m.hashed[:0], of.typ...), 0), m.args...)
	m.sum = sha256.Sum256(m.hashed)
	m.wrapped = record.AppendWrapped(m.wrapped[:0], m.args)
	return group.Member{Profile: of.profile, Args: m.wrapped, Digest: m.sum[:digestSize], ID: of.id}, nil
}

// link makes what is staged of a task or group that exists.
func (g *gathering) link(ref *core.Ref) (group.Member, *RejectedError) {
	if theirs := ref.Engine(); theirs != g.c.engine && theirs.Keys().Namespace() != g.c.cfg.Namespace {
		return group.Member{}, rejected("member", ref.ID()+" is of another namespace")
	}
	if id := ref.ID(); id == g.id || strings.HasPrefix(id, g.id+":") {
		return group.Member{}, rejected("member", id+" is the group itself, or of it")
	}
	return group.Member{Link: ref.ID(), LinkSettled: ref.Kind() == core.Settled}, nil
}

// Bounds of packing.
const (
	packBlock = 1024     // members that are packed by one goroutine at a time
	packKept  = 64 << 20 // bytes that are kept until they are staged; what is beyond is packed once more
)

// packing packs the members of a gather that are all there, on all cores.
type packing struct {
	g     *gathering
	n     int
	at    func(i int) (part, *RejectedError)
	queue string
	keep  int64 // bytes that may be kept until they are staged

	blocks []*group.Packed // nil: not kept
	kept   atomic.Int64
	next   atomic.Int64
	named  []named // in call order

	mu     sync.Mutex
	failed int // the first block with an error; its error
	err    error
	found  map[int][]named // by block

	panicked any
}

// named is a call with an ID of its own.
type named struct {
	at     int
	member group.Member
}

// run packs all members. The error is about the first one that is refused.
func (p *packing) run(ctx context.Context) error {
	p.blocks = make([]*group.Packed, (p.n+packBlock-1)/packBlock)
	p.failed = len(p.blocks)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(p.blocks)) - 1 {
		wg.Go(func() {
			defer func() {
				if v := recover(); v != nil { // in the caller's MarshalJSON: it is the caller's to see
					p.mu.Lock()
					defer p.mu.Unlock()
					p.panicked = v
				}
			}()
			p.work(ctx, &maker{g: p.g})
		})
	}
	func() {
		defer wg.Wait()
		p.work(ctx, &p.g.maker)
	}()
	if p.panicked != nil {
		panic(p.panicked)
	}
	if p.err != nil {
		return p.err
	}
	for b := range p.blocks {
		p.named = append(p.named, p.found[b]...)
	}
	return nil
}

// work packs blocks until there are no more, or one before them was refused.
func (p *packing) work(ctx context.Context, m *maker) {
	for {
		b := int(p.next.Add(1)) - 1
		if b >= len(p.blocks) || p.before(b) {
			return
		}
		packed, ids, err := p.block(ctx, m, b)
		p.mu.Lock()
		switch {
		case err != nil:
			if b < p.failed {
				p.failed, p.err = b, err
			}
		case len(ids) > 0:
			if p.found == nil {
				p.found = map[int][]named{}
			}
			p.found[b] = ids
		}
		p.mu.Unlock()
		if err == nil && p.kept.Add(int64(packed.Bytes())) <= p.keep {
			p.blocks[b] = packed
		}
	}
}

func (p *packing) before(b int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed < b
}

// block packs one block.
func (p *packing) block(ctx context.Context, m *maker, b int) (*group.Packed, []named, error) {
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	var ids []named
	first, last := b*packBlock, min((b+1)*packBlock, p.n)
	packer := group.NewPacker(p.queue, first)
	for i := first; i < last; i++ {
		one, r := p.at(i)
		var member group.Member
		if r == nil {
			member, r = m.member(&one)
		}
		if r != nil {
			return nil, nil, r.at(i)
		}
		packer.Add(&member)
		if member.ID != "" {
			member.Args, member.Digest = nil, bytes.Clone(member.Digest)
			ids = append(ids, named{i, member})
		}
	}
	return packer.Flush(), ids, nil
}

// each calls f with the blocks in their order.
func (p *packing) each(ctx context.Context, f func(*group.Packed) error) error {
	for b, packed := range p.blocks {
		if packed == nil {
			var err error
			if packed, _, err = p.block(ctx, &p.g.maker, b); err != nil {
				return err
			}
		}
		p.blocks[b] = nil
		if err := f(packed); err != nil {
			return err
		}
	}
	return nil
}
