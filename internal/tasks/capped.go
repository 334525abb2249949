package tasks

import (
	"encoding/json"
	"unicode/utf8"
)

// capped is a writer that keeps the first limit bytes and drops the rest. It is for one goroutine.
type capped struct {
	limit int
	kept  []byte
	over  bool
}

// Write keeps what there is room for and never fails: the other side must not notice.
func (c *capped) Write(p []byte) (int, error) {
	room := c.limit - len(c.kept)
	if len(p) > room {
		c.over = true
	}
	c.kept = append(c.kept, p[:min(len(p), room)]...)
	return len(p), nil
}

// text returns what was kept as text, or as bytes where it is none or would grow too much in JSON.
func (c *capped) text() (text string, binary []byte, truncated bool) {
	kept := c.kept
	if c.over {
		kept = trimRune(kept)
	}
	if !utf8.Valid(kept) || inflates(kept) {
		return "", c.kept, c.over
	}
	return string(kept), nil, c.over
}

// trimRune drops the beginning of a character that was cut off at the end.
func trimRune(b []byte) []byte {
	for i := 1; i <= utf8.UTFMax && i <= len(b); i++ {
		if start := len(b) - i; utf8.RuneStart(b[start]) {
			if !utf8.FullRune(b[start:]) {
				return b[:start]
			}
			break
		}
	}
	return b
}

// inflates reports whether b is mostly characters that JSON escapes: two full outputs of such would not fit into a result,
// in base64 they do.
func inflates(b []byte) bool {
	if len(b) < 16<<10 {
		return false
	}
	quoted, err := json.Marshal(string(b))
	return err != nil || len(quoted) > len(b)/4*7
}
