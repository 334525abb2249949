package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// RangeVersion is the first byte of a settled range.
//
// A settled range is varints and length-prefixed bytes, so that it costs a few bytes a member; base.lua writes the same:
//
//	<recorded before>\n                     in decimal, put in front by the script that stores it
//	version · worker · base time · queued time (0: not known)
//	flags · [index] · [attempt · number] · finished · [ran] · value or failure     …in completion order
//
// Times are milliseconds; finished counts from the base, ran back from finished. The flags say which of the optional fields
// are there: a member that follows its predecessor in the calls, with the same attempt and number, needs neither.
const RangeVersion = 2

// The flags of an entry.
const (
	stateMask  = 7      // place in rangeStates
	kindShift  = 3      // of a kind
	kindMask   = 3      // a value, a failure, or the ID of another group whose outcome or items stand for it
	flagNext   = 1 << 5 // no index: the one behind that of the entry before
	flagSame   = 1 << 6 // no attempt and number: those of the entry before, 1 and 1 in the first
	flagUnseen = 1 << 7 // no ran: it never started
)

const (
	kindValue = iota
	kindFailure
	kindOutcome
	kindItems
)

// rangeStates are the final states by their number; base.lua has the same. The list only grows.
var rangeStates = [...]State{Succeeded, Failed, Cancelled, TimedOut, CrashLoop, Lost, Expired}

// RangeWriter packs outcomes in the order in which they come. Its zero value is not valid; use NewRangeWriter.
type RangeWriter struct {
	buf     []byte
	base    int64
	index   int
	attempt int
	number  int64
}

// NewRangeWriter begins a settled range behind what is in buf. No time of its members is before base by more than their clocks
// differ; all of them were queued at the same time.
func NewRangeWriter(buf []byte, worker string, base, queued time.Time) *RangeWriter {
	w := &RangeWriter{base: base.UnixMilli(), index: -2, attempt: 1, number: 1}
	buf = append(buf, RangeVersion)
	buf = append(binary.AppendUvarint(buf, uint64(len(worker))), worker...)
	buf = binary.AppendUvarint(buf, uint64(max(w.base, 0)))
	w.buf = binary.AppendUvarint(buf, uint64(max(TimeMillis(queued), 0)))
	return w
}

// Add packs one more: Index, State, Attempt, Delivery, times, and Value, Failure or Link.
func (w *RangeWriter) Add(o *Outcome) {
	var failure []byte
	flags, body := kindValue<<kindShift, len(o.Value)
	switch {
	case o.Failure != nil: // also of another group: then it has nothing to be read
		failure = o.Failure.Encode()
		flags, body = kindFailure<<kindShift, len(failure)
	case o.Link != "" && o.LinkSettled:
		flags, body = kindItems<<kindShift, len(o.Link)
	case o.Link != "":
		flags, body = kindOutcome<<kindShift, len(o.Link)
	}
	flags |= max(slices.Index(rangeStates[:], o.State), 0)
	if o.Index == w.index+1 {
		flags |= flagNext
	}
	if o.Attempt == w.attempt && o.Delivery == w.number {
		flags |= flagSame
	}
	if o.StartedAt.IsZero() {
		flags |= flagUnseen
	}
	b := w.buf
	b = append(b, byte(flags))
	if flags&flagNext == 0 {
		b = binary.AppendUvarint(b, uint64(o.Index))
	}
	if flags&flagSame == 0 {
		b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(o.Attempt)), uint64(max(o.Delivery, 0)))
	}
	finished := o.FinishedAt.UnixMilli()
	b = binary.AppendUvarint(b, uint64(max(finished-w.base, 0)))
	if flags&flagUnseen == 0 {
		b = binary.AppendUvarint(b, uint64(max(finished-o.StartedAt.UnixMilli(), 0)))
	}
	b = binary.AppendUvarint(b, uint64(body))
	switch flags >> kindShift & kindMask {
	case kindValue:
		b = append(b, o.Value...)
	case kindFailure:
		b = append(b, failure...)
	default:
		b = append(b, o.Link...)
	}
	w.buf, w.index, w.attempt, w.number = b, o.Index, o.Attempt, o.Delivery
}

// Bytes returns what has been packed, buf of NewRangeWriter included.
func (w *RangeWriter) Bytes() []byte { return w.buf }

// EncodeRange packs outcomes in their order.
func EncodeRange(worker string, outs []Outcome) []byte {
	var base, queued time.Time
	for i := range outs {
		for _, t := range []time.Time{outs[i].StartedAt, outs[i].FinishedAt} {
			if !t.IsZero() && (base.IsZero() || t.Before(base)) {
				base = t
			}
		}
	}
	if len(outs) > 0 {
		queued = outs[0].QueuedAt
	}
	w := NewRangeWriter(nil, worker, base, queued)
	for i := range outs {
		w.Add(&outs[i])
	}
	return w.Bytes()
}

// RangeReader unpacks a settled range entry by entry.
type RangeReader struct {
	group  string
	data   []byte
	worker string
	base   int64
	queued time.Time

	order, index int
	attempt      int
	number       int64
}

var errRange = errors.New("settled range does not parse")

// ReadRange begins to read what a settled range of that group holds. The outcomes keep parts of data.
func ReadRange(group string, data []byte) (*RangeReader, error) {
	before, rest, ok := bytes.Cut(data, []byte("\n"))
	order, err := strconv.Atoi(string(before))
	if !ok || err != nil || len(rest) == 0 || rest[0] != RangeVersion {
		return nil, fmt.Errorf("%w: of %s: header %.40q", errRange, group, data[:min(len(data), 40)])
	}
	r := &RangeReader{group: group, data: rest[1:], order: order, index: -2, attempt: 1, number: 1}
	worker, ok1 := r.bytes()
	base, ok2 := r.uvarint()
	queued, ok3 := r.uvarint()
	if !ok1 || !ok2 || !ok3 {
		return nil, fmt.Errorf("%w: of %s: header", errRange, group)
	}
	r.worker, r.base, r.queued = string(worker), int64(base), msTime(int64(queued))
	return r, nil
}

// FirstOrder returns the place in recording order of the first outcome in a settled range of that group.
func FirstOrder(group string, data []byte) (int, error) {
	r, err := ReadRange(group, data)
	if err != nil {
		return 0, err
	}
	return r.order + 1, nil
}

// More reports whether Next has another entry.
func (r *RangeReader) More() bool { return len(r.data) > 0 }

// Next unpacks the next entry into o, whose ID stays empty: it is that of the group and the index.
func (r *RangeReader) Next(o *Outcome) error {
	flags := r.data[0]
	r.data = r.data[1:]
	ok := true
	field := func() (n uint64) {
		if ok {
			n, ok = r.uvarint()
		}
		return n
	}
	r.index++
	if flags&flagNext == 0 {
		r.index = int(field())
	}
	if flags&flagSame == 0 {
		r.attempt, r.number = int(field()), int64(field())
	}
	finished, ran := field(), uint64(0)
	if flags&flagUnseen == 0 {
		ran = field()
	}
	var body []byte
	if ok {
		body, ok = r.bytes()
	}
	state := int(flags & stateMask)
	if !ok || state >= len(rangeStates) || r.index < 0 {
		r.data = nil
		return fmt.Errorf("%w: of %s: entry %d", errRange, r.group, r.order+1)
	}
	r.order++
	*o = Outcome{Group: r.group, Index: r.index, Order: r.order, State: rangeStates[state], Attempt: r.attempt, Delivery: r.number,
		Worker: r.worker, QueuedAt: r.queued, FinishedAt: msTime(r.base + int64(finished))}
	if flags&flagUnseen == 0 {
		o.Started, o.StartedAt = true, msTime(r.base+int64(finished)-int64(ran))
	}
	switch flags >> kindShift & kindMask {
	case kindValue:
		if len(body) > 0 {
			o.Value = body
		}
	case kindFailure:
		o.Failure = DecodeFailure(body)
	case kindOutcome:
		o.Link = string(body)
	case kindItems:
		o.Link, o.LinkSettled = string(body), true
	}
	return nil
}

func (r *RangeReader) uvarint() (uint64, bool) {
	n, w := binary.Uvarint(r.data)
	if w <= 0 {
		return 0, false
	}
	r.data = r.data[w:]
	return n, true
}

func (r *RangeReader) bytes() ([]byte, bool) {
	n, ok := r.uvarint()
	if !ok || n > uint64(len(r.data)) {
		return nil, false
	}
	b := r.data[:n:n]
	r.data = r.data[n:]
	return b, true
}

// DecodeRange unpacks what a settled range holds, in completion order, each with its ID. Group is the group's.
func DecodeRange(group string, data []byte) ([]Outcome, error) {
	r, err := ReadRange(group, data)
	if err != nil {
		return nil, err
	}
	var outs []Outcome
	for r.More() {
		var o Outcome
		if err := r.Next(&o); err != nil {
			return nil, err
		}
		o.ID = group + ":" + strconv.Itoa(o.Index)
		outs = append(outs, o)
	}
	return outs, nil
}
