package tasks

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// simulator runs programs. What it touches of the world is injected.
type simulator struct {
	counters counters
	exit     func(code int)
	current  func(context.Context) jobs.Run
}

// counters are what programs count in, to be seen from outside.
type counters interface {
	// Incr counts one execution, exactly once or with an error.
	Incr(ctx context.Context, key string) error

	// Enter counts the caller in until leave is called, and keeps the maximum.
	Enter(ctx context.Context, key string) (leave func() error, err error)
}

var null = json.RawMessage("null")

func (s *simulator) run(ctx context.Context, p program) (json.RawMessage, error) {
	value := null
	for _, st := range p.steps {
		switch st.op {
		case opSleep:
			if err := pause(ctx, st.n); err != nil {
				return s.cancelled(ctx, p.onCancel, err)
			}
		case opBusy:
			if err := busy(ctx, st.n); err != nil {
				return nil, err
			}
		case opGauge:
			if err := s.gauge(ctx, st); err != nil {
				return nil, err
			}
		case opIncr:
			if err := s.counters.Incr(ctx, st.text); err != nil {
				return nil, fmt.Errorf("incr %s: %w", st.text, err)
			}
		case opFailUntil:
			if attempt := s.current(ctx).Attempt; int64(attempt) < st.n {
				return nil, fmt.Errorf("attempt %d fails: fail_until_attempt is %d", attempt, st.n)
			}
		case opRaise:
			return nil, raised(st)
		case opPanic:
			panic(st.text)
		case opExit:
			s.exit(int(st.n))
		case opIgnoreCancel:
			ignore(st.n)
		case opSpin:
			_ = busy(context.WithoutCancel(ctx), st.n) // it hears of no end
		case opBytes:
			value = text(st.n)
		case opReturn:
			return s.replace(ctx, st.literal), nil
		}
	}
	return value, nil
}

func raised(st step) error {
	err := errors.New(st.text)
	if !st.retry {
		return jobs.Permanent(err)
	}
	return err
}

// text is a JSON string of n bytes.
func text(n int64) json.RawMessage {
	quoted := make([]byte, 0, n+2)
	quoted = append(quoted, '"')
	quoted = append(quoted, bytes.Repeat([]byte("x"), int(n))...)
	return append(quoted, '"')
}

// cancelled is the program's end after its context has ended with cause. The cleanup hears nothing more: a handler is told once.
func (s *simulator) cancelled(ctx context.Context, c *onCancel, cause error) (json.RawMessage, error) {
	if c == nil || errors.Is(cause, jobs.ErrDraining) || errors.Is(cause, jobs.ErrFenced) {
		return nil, cause
	}
	ignore(c.sleepMS)
	switch {
	case c.value != nil:
		return s.replace(ctx, c.value), nil
	case c.raise != nil:
		return nil, errors.New(*c.raise)
	}
	return nil, cause
}

// replace returns what a value stands for: itself, but for the four names.
func (s *simulator) replace(ctx context.Context, literal json.RawMessage) json.RawMessage {
	switch string(literal) {
	case `"$attempt"`:
		return strconv.AppendInt(nil, int64(s.current(ctx).Attempt), 10)
	case `"$delivery"`:
		return strconv.AppendInt(nil, int64(s.current(ctx).Delivery), 10)
	case `"$cause"`:
		return causeOf(ctx)
	case `"$last"`:
		return null
	}
	return literal
}

// causeOf is the cause of the context's end as JSON: its kind, its message where it has none, null before the end.
func causeOf(ctx context.Context) json.RawMessage {
	cause := context.Cause(ctx)
	if cause == nil {
		return null
	}
	name := cause.Error()
	if e, ok := errors.AsType[*jobs.Error](cause); ok {
		name = string(e.Kind)
	} else if kind, ok := errors.AsType[jobs.ErrorKind](cause); ok {
		name = string(kind)
	}
	quoted, err := json.Marshal(name)
	if err != nil {
		return null
	}
	return quoted
}

// ignore sleeps ms milliseconds, whatever becomes of the context: that is what is rehearsed.
func ignore(ms int64) { <-time.After(time.Duration(ms) * time.Millisecond) }

// busy burns a core for ms milliseconds, or until the context ends.
func busy(ctx context.Context, ms int64) error {
	end := time.Now().Add(time.Duration(ms) * time.Millisecond)
	for ctx.Err() == nil {
		if !time.Now().Before(end) {
			return nil
		}
		for x := uint32(1); x < 1<<14; {
			x += 1 + x>>31
		}
	}
	return context.Cause(ctx)
}

func (s *simulator) gauge(ctx context.Context, st step) (err error) {
	leave, err := s.counters.Enter(ctx, st.text)
	if err != nil {
		return fmt.Errorf("gauge %s: %w", st.text, err)
	}
	defer func() {
		if leaveErr := leave(); leaveErr != nil && err == nil {
			err = fmt.Errorf("gauge %s: %w", st.text, leaveErr)
		}
	}()
	return busy(ctx, st.n)
}
