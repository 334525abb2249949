package jobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxDepth is how deep arrays and objects of arguments and results may be nested: every reader of whatever language must be
// able to decode them without a stack of its own making.
const maxDepth = 1000

// encodeJSON encodes arguments and results. JSON that is given as such, json.RawMessage and Value, stays as it is, byte for
// byte: encoding/json would compact and escape it.
func encodeJSON(v any) ([]byte, error) {
	switch raw := v.(type) {
	case json.RawMessage:
		if raw == nil {
			return []byte("null"), nil
		}
		return checkedJSON(raw)
	case *json.RawMessage:
		if raw == nil || *raw == nil {
			return []byte("null"), nil
		}
		return checkedJSON(*raw)
	case Value:
		return rawValue(raw)
	case *Value:
		if raw == nil {
			return []byte("null"), nil
		}
		return rawValue(*raw)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	b := bytes.TrimSuffix(buf.Bytes(), []byte("\n"))
	return b, checkDepth(b)
}

func rawValue(v Value) ([]byte, error) {
	b, err := v.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return checkedJSON(b)
}

// checkedJSON returns a copy of b, which the caller may change later, if it is JSON.
func checkedJSON(b []byte) ([]byte, error) {
	if err := checkDepth(b); err != nil {
		return nil, err
	}
	var raw json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		if at, ok := errors.AsType[*json.SyntaxError](err); ok {
			return nil, fmt.Errorf("not valid JSON at byte %d: %w", at.Offset, err)
		}
		return nil, fmt.Errorf("not valid JSON: %w", err)
	}
	if !utf8.Valid(b) {
		return nil, errors.New("not valid JSON: not UTF-8")
	}
	return bytes.Clone(b), nil
}

// decodeJSON is the reverse of encodeJSON: what wants the JSON itself gets all its bytes.
func decodeJSON(data []byte, v any) error {
	switch into := v.(type) {
	case *json.RawMessage:
		if _, err := checkedJSON(data); err != nil {
			return err
		}
		*into = bytes.Clone(data)
		return nil
	case *Value:
		if _, err := checkedJSON(data); err != nil {
			return err
		}
		return into.UnmarshalJSON(data)
	}
	return json.Unmarshal(data, v)
}

// checkDepth refuses JSON that is nested deeper than maxDepth. Of bytes that are no JSON it may say anything.
func checkDepth(b []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return fmt.Errorf("nested deeper than %d arrays and objects", maxDepth)
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return nil
}

// encodeArgs encodes the arguments of a call, at most limit bytes.
func encodeArgs(v any, limit int) ([]byte, *RejectedError) {
	b, err := encodeJSON(v)
	if err != nil {
		return nil, rejected("args", err.Error())
	}
	if len(b) > limit {
		return nil, rejected("args", fmt.Sprintf("%d bytes, at most %d", len(b), limit))
	}
	return b, nil
}

// digest is what tells whether a creation with a known ID asks for the same: of type and arguments, as they are encoded.
func digest(typ string, args []byte) []byte {
	h := sha256.New()
	h.Write([]byte(typ))
	h.Write([]byte{0})
	h.Write(args)
	return h.Sum(nil)[:16]
}
