package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

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

// UnmarshalJSON decodes and checks a whole program, so that a wrong step 9 fails before step 1 has run. As its caller has found, data
// is JSON: it is taken apart in one pass, since a program is read for each execution.
func (p *program) UnmarshalJSON(data []byte) error {
	f, err := fieldsOf(gjson.ParseBytes(data))
	if err != nil {
		return err
	}
	list, _ := f.take("steps")
	after, _ := f.take("on_cancel")
	if err := f.rest(); err != nil {
		return err
	}
	if list.Type == gjson.Null {
		return errors.New(`"steps" is missing: a program is {"steps":[…]}`)
	}
	if !list.IsArray() {
		return errors.New("steps must be a list")
	}
	*p = program{}
	for _, r := range list.Array() {
		s, err := parseStep(r)
		if err != nil {
			return fmt.Errorf("step %d: %w", len(p.steps)+1, err)
		}
		p.steps = append(p.steps, s)
	}
	if after.Type != gjson.Null {
		c, err := parseOnCancel(after)
		if err != nil {
			return fmt.Errorf("on_cancel: %w", err)
		}
		p.onCancel = c
	}
	return nil
}

// fields are those of an object, taken one by one; what is left over is unknown.
type fields []field

type field struct {
	name  string
	value gjson.Result
}

func fieldsOf(object gjson.Result) (f fields, err error) {
	if !object.IsObject() {
		return nil, errors.New("must be an object")
	}
	object.ForEach(func(name, value gjson.Result) bool {
		f = append(f, field{name.Str, value})
		return true
	})
	return f, nil
}

func (f fields) has(name string) bool {
	return slices.ContainsFunc(f, func(x field) bool { return x.name == name })
}

// take returns the value of a field; of several with one name it is the last, as everywhere in Go.
func (f *fields) take(name string) (value gjson.Result, ok bool) {
	*f = slices.DeleteFunc(*f, func(x field) bool {
		if x.name != name {
			return false
		}
		value, ok = x.value, true
		return true
	})
	return value, ok
}

func (f *fields) int(name string, low, high int64) (int64, error) { //nolint:unparam // the bounds stand where the steps are read
	raw, ok := f.take(name)
	if !ok {
		return 0, fmt.Errorf("%q is missing", name)
	}
	n, err := strconv.ParseInt(raw.Raw, 10, 64)
	if err != nil || n < low || n > high {
		return 0, fmt.Errorf("%s must be an integer from %d to %d", name, low, high)
	}
	return n, nil
}

func (f *fields) string(name string) (string, error) {
	raw, _ := f.take(name)
	if raw.Type != gjson.String {
		return "", fmt.Errorf("%s must be a string", name)
	}
	return string([]rune(raw.Str)), nil // what is not UTF-8 becomes U+FFFD, as with encoding/json
}

func (f *fields) key(name string) (string, error) {
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
	return fmt.Errorf("unknown field %q", f[0].name)
}

func parseStep(object gjson.Result) (step, error) {
	f, err := fieldsOf(object)
	if err != nil {
		return step{}, err
	}
	for _, name := range notYet {
		if f.has(name) {
			return step{}, fmt.Errorf("%s is not available yet in this version", name)
		}
	}
	s := step{retry: true}
	// Gauge stands before busy_ms, which it has as well.
	for _, s.op = range []string{opGauge, opSleep, opBusy, opIncr, opFailUntil, opRaise, opPanic, opExit, opIgnoreCancel, opSpin, opBytes, opReturn} {
		if f.has(s.op) {
			if err := s.fill(&f); err != nil {
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
func (s *step) fill(f *fields) (err error) {
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
			if !raw.IsBool() {
				return errors.New("retry must be true or false")
			}
			s.retry = raw.Bool()
		}
	case opPanic:
		s.text, err = f.string(s.op)
	case opExit:
		s.n, err = f.int(s.op, 0, 255)
	case opBytes:
		s.n, err = f.int(s.op, 0, maxBytes)
	case opReturn:
		value, _ := f.take(s.op)
		s.literal = json.RawMessage(value.Raw)
	}
	return err
}

func parseOnCancel(object gjson.Result) (*onCancel, error) {
	f, err := fieldsOf(object)
	if err != nil {
		return nil, err
	}
	c := &onCancel{}
	if f.has(opSleep) {
		if c.sleepMS, err = f.int(opSleep, 0, maxPause); err != nil {
			return nil, err
		}
	}
	if raw, ok := f.take(opReturn); ok {
		c.value = json.RawMessage(raw.Raw)
	}
	if f.has(opRaise) {
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
