package record

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A settled range is text around the members' bytes, so that scripts can write one, too:
//
//	<recorded before>\n                                     (put in front by the script)
//	1;<worker>;<base time>;<queued, 0 not known>\n
//	<index>;<state>;<kind>;<attempt>;<number>;<started>;<finished>;<bytes of value>;<bytes of failure>\n<value><failure>   …in completion order
//
// Times are relative to the base, in milliseconds; a started that is positive means never. Kind: v a value, e a failure, o and b
// another group's outcome or items, whose ID stands as the value.

// EncodeRange packs outcomes in their order. The members' outcomes need Index, State, Attempt, Delivery, times, and Value or
// Failure; all of them were queued when the first one was, with their group.
func EncodeRange(worker string, base time.Time, outs []Outcome) []byte {
	var b bytes.Buffer
	queued := int64(0)
	if len(outs) > 0 {
		queued = timeMS(outs[0].QueuedAt)
	}
	fmt.Fprintf(&b, "1;%s;%d;%d\n", worker, base.UnixMilli(), queued)
	for i := range outs {
		encodeEntry(&b, base, &outs[i])
	}
	return b.Bytes()
}

func encodeEntry(b *bytes.Buffer, base time.Time, o *Outcome) {
	kind, value, failure := "v", o.Value, o.Failure.Encode()
	switch {
	case o.Link != "" && o.LinkSettled:
		kind, value = "b", []byte(o.Link)
	case o.Link != "":
		kind, value = "o", []byte(o.Link)
	case failure != nil:
		kind = "e"
	}
	started := int64(1)
	if !o.StartedAt.IsZero() {
		started = min(0, o.StartedAt.UnixMilli()-base.UnixMilli())
	}
	num := make([]byte, 0, 64)
	for i, n := range []int64{int64(o.Index), 0, 0, int64(o.Attempt), o.Delivery, started, min(0, o.FinishedAt.UnixMilli()-base.UnixMilli()),
		int64(len(value)), int64(len(failure))} {
		switch i {
		case 1:
			num = append(num, o.State...)
		case 2:
			num = append(num, kind...)
		default:
			num = strconv.AppendInt(num, n, 10)
		}
		num = append(num, ';')
	}
	num[len(num)-1] = '\n'
	b.Write(num)
	b.Write(value)
	b.Write(failure)
}

// DecodeRange unpacks what a settled range holds, in completion order. Group is the group's ID.
func DecodeRange(group string, data []byte) ([]Outcome, error) {
	before, data, ok := bytes.Cut(data, []byte("\n"))
	head, data, ok2 := bytes.Cut(data, []byte("\n"))
	if !ok || !ok2 {
		return nil, fmt.Errorf("settled range of %s: no header", group)
	}
	order, err := strconv.Atoi(string(before))
	h := strings.Split(string(head), ";")
	if err != nil || len(h) != 4 || h[0] != "1" {
		return nil, fmt.Errorf("settled range of %s: header %.40q", group, head)
	}
	base, err := strconv.ParseInt(h[2], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("settled range of %s: base time %.40q", group, h[2])
	}
	queued, err := strconv.ParseInt(h[3], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("settled range of %s: queued time %.40q", group, h[3])
	}
	var outs []Outcome
	for len(data) > 0 {
		line, rest, ok := bytes.Cut(data, []byte("\n"))
		o, nv, nf, err := decodeEntry(line, base)
		if !ok || err != nil || nv < 0 || nf < 0 || nv > len(rest) || nf > len(rest)-nv {
			return nil, fmt.Errorf("settled range of %s: entry %.40q", group, line)
		}
		order++
		o.Group, o.Order, o.Worker, o.ID, o.QueuedAt = group, order, h[1], group+":"+strconv.Itoa(o.Index), msTime(queued)
		value := rest[:nv:nv]
		switch {
		case o.LinkSettled || o.Link != "":
			o.Link = string(value)
		case nv > 0:
			o.Value = value
		}
		o.Failure = DecodeFailure(rest[nv : nv+nf])
		data = rest[nv+nf:]
		outs = append(outs, o)
	}
	return outs, nil
}

func decodeEntry(line []byte, base int64) (o Outcome, nv, nf int, err error) {
	f := bytes.Split(line, []byte(";"))
	if len(f) != 9 {
		return o, 0, 0, fmt.Errorf("%d fields", len(f))
	}
	var n [9]int64
	for _, i := range []int{0, 3, 4, 5, 6, 7, 8} {
		if n[i], err = strconv.ParseInt(string(f[i]), 10, 64); err != nil {
			return o, 0, 0, err
		}
	}
	o.Index, o.State, o.Attempt, o.Delivery = int(n[0]), State(f[1]), int(n[3]), n[4]
	if n[5] <= 0 {
		o.Started, o.StartedAt = true, msTime(base+n[5])
	}
	o.FinishedAt = msTime(base + n[6])
	switch string(f[2]) {
	case "v", "e":
	case "o":
		o.Link = "?"
	case "b":
		o.Link, o.LinkSettled = "?", true
	default:
		return o, 0, 0, fmt.Errorf("kind %q", f[2])
	}
	return o, int(n[7]), int(n[8]), nil
}
