package group

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Profile is what calls have in common. Names and sizes have been validated. It is not changed any more.
type Profile struct {
	Type, Queue  string
	Options      []byte
	Retention    time.Duration
	MaxPending   time.Duration
	Delay        time.Duration
	At, Deadline time.Time // of these calls alone; zero: none
	OnConflict   record.Conflict

	inRange bool // of a segment: ranges carry them, but for those with an ID of their own
}

// Member is one place of a gather before it is committed: a call, or a task or group from elsewhere.
type Member struct {
	*Profile           // of a call; calls that share it take less room
	Args        []byte // in an envelope
	Digest      []byte // of type and arguments
	ID          string // of a call with an ID of its own: it becomes a task, and is linked
	Link        string // a task or group from elsewhere
	LinkSettled bool   // its Settled view
}

// inRange reports whether ranges carry the member.
func (m *Member) inRange() bool { return m.Link == "" && m.ID == "" && m.Profile.inRange }

// Segments are closed at whichever comes first.
const (
	segmentMembers = 64
	segmentBytes   = 64 << 10
)

// SegmentVersion is the first number of a segment; take.lua and next.lua know it, too.
const SegmentVersion = 1

// A segment is "1;<first index>;<members>\n", which scripts read, and then, in varints and length-prefixed bytes: the profiles that
// its calls share (type, queue, options, times), and the members: their profile + 1 and arguments, or 0 and a link.

type segment struct {
	start   int
	members []Member
	number  int
}

// Packed is consecutive members of a group, packed into segments.
type Packed struct {
	segments [][]byte
	digests  []byte // what the group's digest takes in of the members
	members  int
	inRange  int
}

// Bytes returns how many bytes it holds.
func (p *Packed) Bytes() int {
	n := len(p.digests)
	for _, s := range p.segments {
		n += len(s)
	}
	return n
}

// Packer packs consecutive members. It is not safe for concurrent use, but several may pack parts of a group at the same time. It
// keeps nothing of the members.
type Packer struct {
	queue string // of the members that ranges carry
	out   Packed

	start    int // the open segment
	count    int
	profiles []*Profile
	last     int // place of the profile met last, + 1
	body     []byte
}

// NewPacker returns a packer of members from the index start on, for a group whose ranges travel through that queue.
func NewPacker(queue string, start int) *Packer { return &Packer{queue: queue, start: start} }

// Add packs one more member.
func (p *Packer) Add(m *Member) {
	if p.count == segmentMembers || p.count > 0 && len(p.body)+len(m.Args) > segmentBytes {
		p.close()
	}
	p.out.members++
	p.count++
	p.digest(m)
	if m.Link != "" {
		settled := byte(0)
		if m.LinkSettled {
			settled = 1
		}
		p.body = appendString(append(p.body, 0, settled), m.Link)
		return
	}
	which := p.profile(m.Profile)
	if m.ID == "" && p.carries(m.Profile) {
		p.out.inRange++
	}
	p.body = binary.AppendUvarint(p.body, uint64(which))
	p.body = appendString(p.body, m.ID)
	if m.ID != "" {
		p.body = appendBytes(p.body, m.Digest)
	}
	p.body = appendBytes(p.body, m.Args)
}

// digest takes in what makes the same ID mean the same group: types, arguments, links; options do not count.
func (p *Packer) digest(m *Member) {
	d := p.out.digests
	switch {
	case m.Link != "" && m.LinkSettled:
		d = appendString(append(d, 's'), m.Link)
	case m.Link != "":
		d = appendString(append(d, 'l'), m.Link)
	default:
		d = appendBytes(appendString(append(d, 'c'), m.ID), m.Digest)
	}
	p.out.digests = d
}

// carries reports whether ranges may carry calls of a profile.
func (p *Packer) carries(f *Profile) bool {
	return f.Queue == p.queue && f.Delay == 0 && f.At.IsZero() && f.Deadline.IsZero()
}

// profile returns the place + 1 of a profile in the open segment.
func (p *Packer) profile(f *Profile) int {
	if p.last > 0 && p.profiles[p.last-1] == f {
		return p.last
	}
	for i, have := range p.profiles {
		if have == f || have.equal(f) {
			p.last = i + 1
			return p.last
		}
	}
	p.profiles = append(p.profiles, f)
	p.last = len(p.profiles)
	return p.last
}

func (f *Profile) equal(o *Profile) bool {
	return f.Type == o.Type && f.Queue == o.Queue && bytes.Equal(f.Options, o.Options) && f.OnConflict == o.OnConflict &&
		f.Retention == o.Retention && f.MaxPending == o.MaxPending && f.Delay == o.Delay && f.At.Equal(o.At) && f.Deadline.Equal(o.Deadline)
}

// close packs the open segment.
func (p *Packer) close() {
	if p.count == 0 {
		return
	}
	var head []byte
	for _, f := range p.profiles {
		head = appendBytes(head, p.packProfile(f))
	}
	b := make([]byte, 0, 32+len(head)+len(p.body))
	b = append(strconv.AppendInt(b, SegmentVersion, 10), ';')
	b = append(strconv.AppendInt(b, int64(p.start), 10), ';')
	b = append(strconv.AppendInt(b, int64(p.count), 10), '\n')
	b = binary.AppendUvarint(b, uint64(len(p.profiles)))
	b = append(append(b, head...), p.body...)
	p.out.segments = append(p.out.segments, b)
	p.start += p.count
	p.count, p.last = 0, 0
	p.profiles, p.body = p.profiles[:0], p.body[:0]
}

// Flush closes the open segment and returns what has been packed since the last one.
func (p *Packer) Flush() *Packed {
	p.close()
	return p.take()
}

func (p *Packer) take() *Packed {
	out := p.out
	p.out = Packed{}
	return &out
}

func (p *Packer) packProfile(f *Profile) []byte {
	b := appendString(nil, f.Type)
	b = appendString(b, f.Queue)
	b = appendBytes(b, f.Options)
	b = appendString(b, string(f.OnConflict))
	for _, n := range []int64{record.Millis(f.Retention), record.Millis(f.MaxPending), record.Millis(f.Delay), record.TimeMillis(f.At), record.TimeMillis(f.Deadline)} {
		b = binary.AppendVarint(b, n)
	}
	if p.carries(f) {
		return append(b, 1)
	}
	return append(b, 0)
}

func msUnix(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func appendBytes(b, p []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(p))), p...)
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

var errSegment = errors.New("segment of arguments does not parse")

// reader reads varints and length-prefixed bytes; the first mistake sticks.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	n, w := binary.Uvarint(r.b)
	if w <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[w:]
	return n
}

func (r *reader) varint() int64 {
	n, w := binary.Varint(r.b)
	if w <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[w:]
	return n
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if r.bad || n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func unpackSegment(data []byte) (*segment, error) {
	head, rest, ok := bytes.Cut(data, []byte("\n"))
	s := &segment{}
	count, okHead := s.head(head)
	if !ok || !okHead {
		return nil, fmt.Errorf("%w: header %.40q", errSegment, head)
	}
	r := &reader{b: rest}
	profiles := make([]Profile, min(r.uvarint(), segmentMembers))
	for i := range profiles {
		unpackProfile(&reader{b: r.bytes()}, &profiles[i], r)
	}
	s.members = make([]Member, count)
	for i := range s.members {
		m := &s.members[i]
		p := r.uvarint()
		if p == 0 {
			m.LinkSettled = r.uvarint() == 1
			m.Link = string(r.bytes())
			continue
		}
		if p > uint64(len(profiles)) {
			return nil, errSegment
		}
		m.Profile = &profiles[p-1]
		if m.ID = string(r.bytes()); m.ID != "" {
			m.Digest = r.bytes()
		}
		m.Args = r.bytes()
	}
	if r.bad || len(r.b) > 0 {
		return nil, errSegment
	}
	return s, nil
}

// head reads "1;<first index>;<members>".
func (s *segment) head(line []byte) (count int, ok bool) {
	version, rest, ok1 := bytes.Cut(line, []byte(";"))
	first, members, ok2 := bytes.Cut(rest, []byte(";"))
	start, err1 := strconv.Atoi(string(first))
	count, err2 := strconv.Atoi(string(members))
	s.start = start
	return count, ok1 && ok2 && string(version) == strconv.Itoa(SegmentVersion) && err1 == nil && err2 == nil && start >= 0 && count >= 0 && count <= segmentMembers
}

func unpackProfile(p *reader, m *Profile, outer *reader) {
	m.Type, m.Queue, m.Options = string(p.bytes()), string(p.bytes()), p.bytes()
	m.OnConflict = record.Conflict(p.bytes())
	m.Retention = time.Duration(p.varint()) * time.Millisecond
	m.MaxPending = time.Duration(p.varint()) * time.Millisecond
	m.Delay = time.Duration(p.varint()) * time.Millisecond
	m.At, m.Deadline = msUnix(p.varint()), msUnix(p.varint())
	if len(p.b) != 1 {
		p.bad = true
	} else {
		m.inRange = p.b[0] == 1
	}
	outer.bad = outer.bad || p.bad
}
