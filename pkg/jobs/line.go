package jobs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/gatherq/gatherq/internal/keys"
)

// line is the result line of the command line, an Outcome as JSON.
type line struct {
	ID         string          `json:"id"`
	Index      *int            `json:"index,omitempty"` // of members only
	Order      int             `json:"order,omitempty"`
	State      State           `json:"state"`
	Value      json.RawMessage `json:"value,omitempty"`
	Error      *lineError      `json:"error,omitempty"`
	Attempt    int             `json:"attempt"`
	Delivery   int             `json:"delivery"`
	Worker     string          `json:"worker,omitempty"`
	QueuedAt   *time.Time      `json:"queued_at,omitempty"`
	StartedAt  *time.Time      `json:"started_at,omitempty"`
	FinishedAt *time.Time      `json:"finished_at,omitempty"`
}

type lineError struct {
	Kind    ErrorKind   `json:"kind"`
	Message string      `json:"message"`
	Codes   []ErrorCode `json:"codes,omitempty"`
	Stack   string      `json:"stack,omitempty"`
	Type    string      `json:"type,omitempty"`
}

// MarshalJSON encodes the result line, Err as {"kind","message"} with codes and stack where there are any, times as
// RFC 3339 in UTC. Called by itself, and not through json.Marshal, it leaves the bytes of a Value as they are but for
// white space between them, so that a line stays one line.
func (o Outcome[R]) MarshalJSON() ([]byte, error) {
	l := line{
		ID: o.ID, Order: o.Order, State: o.State, Attempt: o.Attempt, Delivery: o.Delivery, Worker: o.Worker,
		QueuedAt: utc(o.QueuedAt), StartedAt: utc(o.StartedAt), FinishedAt: utc(o.FinishedAt),
	}
	if o.member || o.Index != 0 {
		l.Index = &o.Index
	}
	var value []byte
	switch {
	case o.Err != nil && !errors.Is(o.Err, ErrNotDone):
		l.Error = errorLine(o.Err)
	case o.Err == nil && o.State == StateSucceeded:
		data, err := encodeJSON(o.Value)
		if err == nil {
			value, err = compact(data)
		}
		if err != nil {
			return nil, err
		}
		l.Value = json.RawMessage("0") // keeps the place: encoding/json would escape what stands here
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, err
	}
	data := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if value == nil {
		return data, nil
	}
	head, tail, _ := bytes.Cut(data, []byte(`"value":0`)) // strings before it have their quotes escaped
	return bytes.Join([][]byte{head, []byte(`"value":`), value, tail}, nil), nil
}

func errorLine(err error) *lineError {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		kind := ErrFailed
		if r, ok := errors.AsType[*RejectedError](err); ok {
			kind = r.kind()
		}
		return &lineError{Kind: kind, Message: err.Error()}
	}
	message := e.Message
	if message == "" && e.cause != nil {
		message = e.cause.Error()
	}
	return &lineError{Kind: e.Kind, Message: message, Codes: e.Codes, Stack: e.Stack, Type: e.Type}
}

// UnmarshalJSON decodes the result line; Err is an *Error again, ErrNotDone before the end.
func (o *Outcome[R]) UnmarshalJSON(data []byte) error {
	var l line
	if err := json.Unmarshal(data, &l); err != nil {
		return err
	}
	*o = Outcome[R]{
		ID: l.ID, Order: l.Order, State: l.State, Attempt: l.Attempt, Delivery: l.Delivery, Worker: l.Worker,
		QueuedAt: orZero(l.QueuedAt), StartedAt: orZero(l.StartedAt), FinishedAt: orZero(l.FinishedAt),
	}
	if l.Index != nil {
		o.Index, o.member = *l.Index, true
	}
	e := &Error{
		ID: l.ID, Index: o.Index, Attempt: l.Attempt, Delivery: l.Delivery, Started: !o.StartedAt.IsZero(), At: o.FinishedAt,
	}
	e.Group, _, _ = keys.SplitMember(l.ID)
	switch {
	case l.Error != nil:
		e.Kind, e.Message, e.Codes, e.Stack, e.Type = l.Error.Kind, l.Error.Message, l.Error.Codes, l.Error.Stack, l.Error.Type
		o.Err = e
	case l.State == StateSucceeded:
		if l.Value == nil {
			return nil
		}
		if err := decodeJSON(l.Value, &o.Value); err != nil {
			return fmt.Errorf("value of %s: %w", l.ID, err)
		}
	case l.State.Final():
		e.Kind = ErrFailed
		o.Err = e
	default:
		o.Err = &Error{Kind: ErrNotDone, ID: l.ID, Group: e.Group, Index: o.Index}
	}
	return nil
}

func utc(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}
