package group

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

// Member is one place of a gather before it is committed: a call, or a task or group from elsewhere. Names and sizes have
// been validated.
type Member struct {
	Type, Queue  string
	Args         []byte // in an envelope
	Options      []byte
	Digest       []byte // of type and arguments
	Retention    time.Duration
	MaxPending   time.Duration
	Delay        time.Duration
	At, Deadline time.Time // of this call alone; zero: none
	ID           string    // of a call with an ID of its own: it becomes a task, and is linked
	OnConflict   record.Conflict
	Link         string // a task or group from elsewhere
	LinkSettled  bool   // its Settled view
	inRange      bool
	nonce        string // of the staging of its group, while that is bound
}

// Segments are closed at whichever comes first.
const (
	segmentMembers = 64
	segmentBytes   = 64 << 10
)

// A segment is "1;<first index>;<members>\n", which scripts read, and then, in varints and length-prefixed bytes: the profiles that
// its calls share (type, queue, options, times), and the members: their profile + 1 and arguments, or 0 and a link.

type segment struct {
	start   int
	members []Member
	number  int
}

func packSegment(start int, members []Member) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "1;%d;%d\n", start, len(members))
	var profiles [][]byte
	place := map[string]int{}
	which := make([]int, len(members))
	for i := range members {
		if members[i].Link != "" {
			continue
		}
		p := packProfile(&members[i])
		at, ok := place[string(p)]
		if !ok {
			at = len(profiles)
			place[string(p)] = at
			profiles = append(profiles, p)
		}
		which[i] = at + 1
	}
	buf := binary.AppendUvarint(nil, uint64(len(profiles)))
	for _, p := range profiles {
		buf = appendBytes(buf, p)
	}
	for i := range members {
		m := &members[i]
		buf = binary.AppendUvarint(buf, uint64(which[i]))
		if m.Link != "" {
			settled := uint64(0)
			if m.LinkSettled {
				settled = 1
			}
			buf = binary.AppendUvarint(buf, settled)
			buf = appendBytes(buf, []byte(m.Link))
			continue
		}
		buf = appendBytes(buf, []byte(m.ID))
		if m.ID != "" {
			buf = appendBytes(buf, m.Digest)
		}
		buf = appendBytes(buf, m.Args)
	}
	b.Write(buf)
	return b.Bytes()
}

func packProfile(m *Member) []byte {
	b := appendBytes(nil, []byte(m.Type))
	b = appendBytes(b, []byte(m.Queue))
	b = appendBytes(b, m.Options)
	b = appendBytes(b, []byte(m.OnConflict))
	for _, n := range []int64{record.Millis(m.Retention), record.Millis(m.MaxPending), record.Millis(m.Delay), unixMS(m.At), unixMS(m.Deadline)} {
		b = binary.AppendVarint(b, n)
	}
	if m.inRange {
		return append(b, 1)
	}
	return append(b, 0)
}

func unixMS(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
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
	var count int
	if n, err := fmt.Sscanf(string(head), "1;%d;%d", &s.start, &count); !ok || err != nil || n != 2 || count < 0 || count > segmentMembers || s.start < 0 {
		return nil, fmt.Errorf("%w: header %.40q", errSegment, head)
	}
	r := &reader{b: rest}
	profiles := make([]Member, min(r.uvarint(), segmentMembers))
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
		*m = profiles[p-1]
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

func unpackProfile(p *reader, m *Member, outer *reader) {
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
