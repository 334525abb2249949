package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth is how deep arguments may nest. A bound of its own, because decoders of handlers recurse.
const maxDepth = 1_000

// checkJSON returns nil if b is one JSON text in UTF-8, at most maxDepth deep. Otherwise the error says at which byte (from 1), or at
// which line and byte of it where b has several, reading fails.
func checkJSON(b []byte) error {
	if at := tooDeep(b); at > 0 {
		return fmt.Errorf("%s: nested deeper than %d", position(b, at), maxDepth)
	}
	if !json.Valid(b) {
		var raw json.RawMessage
		err := json.Unmarshal(b, &raw)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			if len(bytes.TrimSpace(b)) == 0 {
				return errors.New("empty: a JSON text is needed")
			}
			return fmt.Errorf("%s: %w", position(b, int(syntax.Offset)), err)
		}
		return err
	}
	if !utf8.Valid(b) {
		at := 0
		for at < len(b) {
			r, n := utf8.DecodeRune(b[at:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			at += n
		}
		return fmt.Errorf("%s: not UTF-8", position(b, at+1))
	}
	return nil
}

// tooDeep returns the position, from 1, of the bracket that opens the level below maxDepth, or 0. It takes b to be JSON; what it says of
// other texts does not matter, they fail anyway.
func tooDeep(b []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return i + 1
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return 0
}

// position names the byte at offset, from 1, of b.
func position(b []byte, offset int) string {
	offset = max(1, min(offset, len(b)))
	if len(b) == 0 {
		return "byte 1"
	}
	before := b[:offset-1]
	if line := bytes.Count(before, []byte{'\n'}); line > 0 {
		return fmt.Sprintf("line %d, byte %d", line+1, offset-1-bytes.LastIndexByte(before, '\n'))
	}
	return fmt.Sprintf("byte %d", offset)
}
