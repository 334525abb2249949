package record

import (
	"bytes"
	"fmt"
	"strconv"
)

// Notice is a message in an inbox. It is a hint that travels without acknowledgement: what it says stands in Redis, too.
type Notice struct {
	Kind    byte     // 't' a task or member ended, 'o' a group's outcome, 'b' its barrier, 'p' its progress, 'c' to a worker: end this task
	ID      string   // of a range ('c'): see Range
	Outcome *Outcome // of 't': the whole outcome where it is small, else nil: read it
	Done    int      // of 'o', 'b', 'p': members recorded
	Number  int64    // of 'c': the delivery that is meant
	Reason  *Failure // of 'c'
}

// ParseNotices reads a message, which holds one notice or several, and calls f with each. With an error some may have been read.
func ParseNotices(payload []byte, each func(Notice)) error {
	f, err := unpackAll(payload)
	if err != nil {
		return err
	}
	if len(f) == 0 || string(f[0]) != "m" {
		n, err := parseNotice(f)
		if err == nil {
			each(n)
		}
		return err
	}
	for _, one := range f[1:] {
		parts, err := unpackAll(one)
		if err != nil {
			return err
		}
		n, err := parseNotice(parts)
		if err != nil {
			return err
		}
		each(n)
	}
	return nil
}

func parseNotice(f [][]byte) (n Notice, err error) {
	if len(f) < 2 || len(f[0]) != 1 {
		return Notice{}, fmt.Errorf("notice of %d fields", len(f))
	}
	n = Notice{Kind: f[0][0], ID: string(f[1])}
	bad := func() (Notice, error) { return Notice{}, fmt.Errorf("notice %q of %d fields", n.Kind, len(f)) }
	switch n.Kind {
	case 't':
		if len(f) == 2 {
			return n, nil
		}
		if len(f) != 12 {
			return bad()
		}
		var nums [12]int64
		for _, i := range []int{5, 6, 9, 10, 11} {
			if len(f[i]) == 0 {
				continue
			}
			if nums[i], err = strconv.ParseInt(string(f[i]), 10, 64); err != nil {
				return bad()
			}
		}
		o := &Outcome{ID: n.ID, Index: -1, State: State(f[2]), Failure: DecodeFailure(f[4]), Attempt: int(nums[5]), Delivery: nums[6], Worker: string(f[7]),
			Type: string(f[8]), QueuedAt: msTime(nums[9]), StartedAt: msTime(nums[10]), FinishedAt: msTime(nums[11])}
		if len(f[3]) > 0 {
			o.Value = f[3]
		}
		o.Started = !o.StartedAt.IsZero()
		n.Outcome = o
	case 'o', 'b', 'p':
		if len(f) != 3 {
			return bad()
		}
		if n.Done, err = strconv.Atoi(string(f[2])); err != nil {
			return bad()
		}
	case 'c':
		if len(f) != 4 {
			return bad()
		}
		if n.Number, err = strconv.ParseInt(string(f[2]), 10, 64); err != nil {
			return bad()
		}
		n.Reason = DecodeFailure(f[3])
	default:
		return bad()
	}
	return n, nil
}

// unpackAll reads what pack of base.lua wrote: <length>:<bytes>, again and again.
func unpackAll(b []byte) ([][]byte, error) {
	out := make([][]byte, 0, 12)
	for len(b) > 0 {
		head, rest, ok := bytes.Cut(b, []byte(":"))
		n, err := strconv.Atoi(string(head))
		if !ok || err != nil || n < 0 || n > len(rest) {
			return nil, fmt.Errorf("packed field %d of %d bytes does not parse", len(out), len(b))
		}
		out = append(out, rest[:n:n])
		b = rest[n:]
	}
	return out, nil
}
