package jobs

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"unicode/utf8"
)

// maxDepth is how deep arrays and objects of arguments and results may be nested: every reader of whatever language must be
// able to decode them without a stack of its own making.
const maxDepth = 1000

// encodeJSON encodes arguments and results. JSON that is given as such, json.RawMessage and Value, stays as it is, byte for
// byte: encoding/json would compact and escape it.
func encodeJSON(v any) ([]byte, error) {
	return appendEncoded(nil, v)
}

// jsonEncoder is an encoder with its buffer, to be used again.
type jsonEncoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

// mostKept is how large a buffer may be that is kept.
const mostKept = 64 << 10

var jsonEncoders = sync.Pool{New: func() any {
	e := &jsonEncoder{}
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false)
	return e
}}

// appendEncoded is encodeJSON behind what is in b.
func appendEncoded(b []byte, v any) ([]byte, error) {
	if raw, ok, err := givenJSON(v); ok || err != nil {
		return append(b, raw...), err
	}
	e := jsonEncoders.Get().(*jsonEncoder) //nolint:forcetypeassert // ours
	e.buf.Reset()
	if err := e.enc.Encode(v); err != nil {
		return b, err // the encoder may keep the error, and is left
	}
	data := bytes.TrimSuffix(e.buf.Bytes(), []byte("\n"))
	b = append(b, data...)
	err := checkDepth(data)
	if e.buf.Cap() <= mostKept {
		jsonEncoders.Put(e)
	}
	return b, err
}

// givenJSON returns the bytes of what is JSON already, if v is.
func givenJSON(v any) (b []byte, is bool, err error) {
	switch raw := v.(type) {
	case json.RawMessage:
		return rawMessageJSON(raw)
	case *json.RawMessage:
		if raw == nil {
			return null, true, nil
		}
		return rawMessageJSON(*raw)
	case Value:
		b, err = rawValue(raw)
		return b, true, err
	case *Value:
		if raw == nil {
			return null, true, nil
		}
		b, err = rawValue(*raw)
		return b, true, err
	}
	return nil, false, nil
}

var null = []byte("null")

func rawMessageJSON(raw json.RawMessage) ([]byte, bool, error) {
	if raw == nil {
		return null, true, nil
	}
	return raw, true, checkJSON(raw)
}

func rawValue(v Value) ([]byte, error) {
	b, err := v.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return b, checkJSON(b)
}

// checkJSON refuses what is not JSON.
func checkJSON(b []byte) error {
	if err := checkDepth(b); err != nil {
		return err
	}
	if !json.Valid(b) {
		var raw json.RawMessage
		err := json.Unmarshal(b, &raw)
		if at, ok := errors.AsType[*json.SyntaxError](err); ok {
			return fmt.Errorf("not valid JSON at byte %d: %w", at.Offset, err)
		}
		return fmt.Errorf("not valid JSON: %w", err)
	}
	if !utf8.Valid(b) {
		return errors.New("not valid JSON: not UTF-8")
	}
	return nil
}

// decodeJSON is the reverse of encodeJSON: what wants the JSON itself gets all its bytes.
func decodeJSON(data []byte, v any) error {
	switch into := v.(type) {
	case *json.RawMessage:
		if err := checkJSON(data); err != nil {
			return err
		}
		*into = bytes.Clone(data)
		return nil
	case *Value:
		if err := checkJSON(data); err != nil {
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
func encodeArgs(v any, limit int) ([]byte, *RejectedError) { return appendArgs(nil, v, limit) }

// appendArgs is encodeArgs behind what is in b.
func appendArgs(b []byte, v any, limit int) ([]byte, *RejectedError) {
	before := len(b)
	b, err := appendEncoded(b, v)
	if err != nil {
		return nil, rejected("args", err.Error())
	}
	if n := len(b) - before; n > limit {
		return nil, rejected("args", fmt.Sprintf("%d bytes, at most %d", n, limit))
	}
	return b, nil
}

// digest is what tells whether a creation with a known ID asks for the same: of type and arguments, as they are encoded.
func digest(typ string, args []byte) []byte {
	sum := sha256.Sum256(append(append(append(make([]byte, 0, len(typ)+1+len(args)), typ...), 0), args...))
	return sum[:digestSize]
}

// digestSize is how much of the hash is kept.
const digestSize = 16
