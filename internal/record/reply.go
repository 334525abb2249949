package record

import (
	"fmt"
	"strconv"
	"time"
)

// Reply reads a script's answer field by field. A wrong shape is kept as Err: it is a bug, or another version's script.
type Reply struct {
	list []any
	at   int
	Err  error
}

// NewReply reads v, which must be a list.
func NewReply(v any, err error) *Reply {
	if err != nil {
		return &Reply{Err: err}
	}
	list, ok := v.([]any)
	if !ok {
		return &Reply{Err: fmt.Errorf("script answered %T, not a list", v)}
	}
	return &Reply{list: list}
}

// More reports whether something is left.
func (r *Reply) More() bool { return r.Err == nil && r.at < len(r.list) }

// Is reports whether the next field is that word; it is not read.
func (r *Reply) Is(word string) bool { return r.More() && r.list[r.at] == any(word) }

// Fields returns how many fields are left before the first list among them.
func (r *Reply) Fields() int {
	for n, v := range r.list[min(r.at, len(r.list)):] {
		if _, ok := v.([]any); ok {
			return n
		}
	}
	return len(r.list) - r.at
}

func (r *Reply) next() any {
	if r.Err != nil {
		return nil
	}
	if r.at >= len(r.list) {
		r.Err = fmt.Errorf("script answered %d fields, more were expected", len(r.list))
		return nil
	}
	r.at++
	return r.list[r.at-1]
}

// Str returns the next field; a nil reads as "".
func (r *Reply) Str() string {
	switch v := r.next().(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	case nil:
	default:
		r.Err = fmt.Errorf("script answered %T, not a string", v)
	}
	return ""
}

// Bytes is Str as bytes; nil where it is empty.
func (r *Reply) Bytes() []byte {
	if s := r.Str(); s != "" {
		return []byte(s)
	}
	return nil
}

// Int returns the next field; "" reads as 0.
func (r *Reply) Int() int64 {
	s := r.Str()
	if s == "" {
		return 0
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil && r.Err == nil {
		r.Err = fmt.Errorf("script answered %q, not a number", s)
	}
	return n
}

// Time returns the next field, milliseconds; 0 and "" are the zero time.
func (r *Reply) Time() time.Time { return msTime(r.Int()) }

// List returns the next field, a list, to be read.
func (r *Reply) List() *Reply { return NewReply(r.next(), r.Err) }

func msTime(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// TimeMillis is a time as scripts take it, 0 for none; rounded up, so that nothing starts early.
func TimeMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Add(time.Millisecond - time.Nanosecond).UnixMilli()
}

// Millis is a duration as scripts take it: rounded up, so that nothing that is not zero becomes zero.
func Millis(d time.Duration) int64 { return int64((d + time.Millisecond - 1) / time.Millisecond) }

// DelayMillis is a time from now on as scripts take it, which add it to Redis' clock: that counts whole milliseconds, so what begins near the
// end of one would start early by nearly as much.
func DelayMillis(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return Millis(d) + 1
}
