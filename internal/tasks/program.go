package tasks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/gatherq/gatherq/pkg/jobs"
)

const (
	maxBytes = 16 << 20 // of the step bytes: more than any result may have
	maxKey   = 256      // bytes of a key of gauge and incr
)

// Sim runs a program of steps, to rehearse a workload and to test the fleet. Its arguments are JSON:
//
//	{"steps": [STEP…], "on_cancel": {"sleep_ms": N, "return": ANY | "raise": MESSAGE}}
//
// Steps run in order: {"sleep_ms":N}, {"busy_ms":N}, {"gauge":KEY,"busy_ms":N}, {"incr":KEY}, {"fail_until_attempt":N},
// {"raise":MESSAGE,"retry":BOOL}, {"panic":MESSAGE}, {"exit":CODE}, {"ignore_cancel_ms":N}, {"spin_ms":N}, {"bytes":N} and {"return":ANY}. A
// program without return or bytes has the value null. Values are kept byte for byte; those that are "$attempt", "$delivery", "$cause"
// (of the context's end, null before it) or "$last" (of the last child step, null without one) as a whole are replaced.
//
// On_cancel is for a cancel, or a time-out, that arrives in sleep_ms. A worker that drains, or that lost the task to another, ends it
// at once: what it returned would not count.
var Sim = jobs.Define[json.RawMessage, json.RawMessage]("sim")

// simProgram is Sim as its handler sees it: a program that does not decode is bad_args.
var simProgram = jobs.Define[program, json.RawMessage]("sim")

// program is a decoded program of sim.
type program struct {
	steps    []step
	onCancel *onCancel
}

// step is one step; the fields that its op uses are set.
type step struct {
	op      string // the field that names the step
	n       int64  // milliseconds, bytes, attempt or exit code
	text    string // message or key
	retry   bool
	literal json.RawMessage
}

// onCancel is what a program does after a cancel. With neither value nor raise the cancel goes on.
type onCancel struct {
	sleepMS int64
	value   json.RawMessage
	raise   *string
}

// The ops of the steps, by the field that names them.
const (
	opSleep        = "sleep_ms"
	opBusy         = "busy_ms"
	opGauge        = "gauge"
	opIncr         = "incr"
	opFailUntil    = "fail_until_attempt"
	opRaise        = "raise"
	opPanic        = "panic"
	opExit         = "exit"
	opIgnoreCancel = "ignore_cancel_ms"
	opSpin         = "spin_ms"
	opBytes        = "bytes"
	opReturn       = "return"
)

// notYet are the steps that this version does not run.
var notYet = []string{"call", "gather", "create", "progress"}

// UnmarshalJSON decodes and checks a whole program, so that a wrong step 9 fails before step 1 has run.
func (p *program) UnmarshalJSON(data []byte) error {
	f, err := parseFields(data)
	if err != nil {
		return err
	}
	list, _ := f.take("steps")
	after, _ := f.take("on_cancel")
	if err := f.rest(); err != nil {
		return err
	}
	var steps []json.RawMessage
	if len(list) > 0 {
		if err := json.Unmarshal(list, &steps); err != nil {
			return fmt.Errorf("steps: %w", err)
		}
	}
	if steps == nil {
		return errors.New(`"steps" is missing: a program is {"steps":[…]}`)
	}
	*p = program{steps: make([]step, 0, len(steps))}
	for i, r := range steps {
		s, err := parseStep(r)
		if err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
		p.steps = append(p.steps, s)
	}
	if len(after) > 0 && string(after) != "null" {
		c, err := parseOnCancel(after)
		if err != nil {
			return fmt.Errorf("on_cancel: %w", err)
		}
		p.onCancel = c
	}
	return nil
}

// fields is an object whose fields are taken one by one; what is left over is unknown.
type fields map[string]json.RawMessage

func parseFields(data json.RawMessage) (fields, error) {
	var f fields
	if err := json.Unmarshal(data, &f); err != nil || f == nil {
		return nil, errors.New("must be an object")
	}
	return f, nil
}

func (f fields) take(name string) (json.RawMessage, bool) {
	raw, ok := f[name]
	delete(f, name)
	return raw, ok
}

func (f fields) int(name string, low, high int64) (int64, error) { //nolint:unparam // the bounds stand where the steps are read
	raw, ok := f.take(name)
	if !ok {
		return 0, fmt.Errorf("%q is missing", name)
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s must be an integer from %d to %d", name, low, high)
	}
	return n, nil
}

func (f fields) string(name string) (string, error) {
	raw, _ := f.take(name)
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil {
		return "", fmt.Errorf("%s must be a string", name)
	}
	return *s, nil
}

func (f fields) key(name string) (string, error) {
	s, err := f.string(name)
	if err != nil {
		return "", err
	}
	if s == "" || len(s) > maxKey || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", fmt.Errorf("%s must be a string of 1 to %d bytes without control characters", name, maxKey)
	}
	return s, nil
}

// rest returns an error if a field was not taken.
func (f fields) rest() error {
	if len(f) == 0 {
		return nil
	}
	return fmt.Errorf("unknown field %q", slices.Sorted(maps.Keys(f))[0])
}

func parseStep(data json.RawMessage) (step, error) {
	f, err := parseFields(data)
	if err != nil {
		return step{}, err
	}
	for _, name := range notYet {
		if _, ok := f[name]; ok {
			return step{}, fmt.Errorf("%s is not available yet in this version", name)
		}
	}
	s := step{retry: true}
	// Gauge stands before busy_ms, which it has as well.
	for _, s.op = range []string{opGauge, opSleep, opBusy, opIncr, opFailUntil, opRaise, opPanic, opExit, opIgnoreCancel, opSpin, opBytes, opReturn} {
		if _, ok := f[s.op]; ok {
			if err := s.fill(f); err != nil {
				return step{}, err
			}
			return s, f.rest()
		}
	}
	if err := f.rest(); err != nil {
		return step{}, fmt.Errorf("unknown step: %w", err)
	}
	return step{}, errors.New("is empty")
}

// fill takes the fields of the step's op.
func (s *step) fill(f fields) (err error) {
	switch s.op {
	case opSleep, opBusy, opIgnoreCancel, opSpin:
		s.n, err = f.int(s.op, 0, maxPause)
	case opGauge:
		if s.text, err = f.key(s.op); err == nil {
			s.n, err = f.int(opBusy, 0, maxPause)
		}
	case opIncr:
		s.text, err = f.key(s.op)
	case opFailUntil:
		s.n, err = f.int(s.op, 0, 1<<31-1)
	case opRaise:
		if s.text, err = f.string(s.op); err != nil {
			return err
		}
		if raw, ok := f.take("retry"); ok {
			if string(raw) != "true" && string(raw) != "false" {
				return errors.New("retry must be true or false")
			}
			s.retry = string(raw) == "true"
		}
	case opPanic:
		s.text, err = f.string(s.op)
	case opExit:
		s.n, err = f.int(s.op, 0, 255)
	case opBytes:
		s.n, err = f.int(s.op, 0, maxBytes)
	case opReturn:
		s.literal, _ = f.take(s.op)
		s.literal = bytes.Clone(s.literal)
	}
	return err
}

func parseOnCancel(data json.RawMessage) (*onCancel, error) {
	f, err := parseFields(data)
	if err != nil {
		return nil, err
	}
	c := &onCancel{}
	if _, ok := f[opSleep]; ok {
		if c.sleepMS, err = f.int(opSleep, 0, maxPause); err != nil {
			return nil, err
		}
	}
	if raw, ok := f.take(opReturn); ok {
		c.value = bytes.Clone(raw)
	}
	if _, ok := f[opRaise]; ok {
		if c.value != nil {
			return nil, errors.New("has both return and raise")
		}
		message, err := f.string(opRaise)
		if err != nil {
			return nil, err
		}
		c.raise = &message
	}
	return c, f.rest()
}
