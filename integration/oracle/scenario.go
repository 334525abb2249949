package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
)

// scenario is one file: tasks, what a producer does with them, and what CPython's asyncio made of it.
type scenario struct {
	Name   string          `json:"name"`
	Why    string          `json:"why"`
	Tasks  []program       `json:"tasks"`
	Script []operation     `json:"script"`
	Expect json.RawMessage `json:"expect"`
}

// program is a task: arguments of the sim type, and the name that the script has for it.
type program struct {
	ID       string                       `json:"id"`
	Steps    []map[string]json.RawMessage `json:"steps"`
	OnCancel map[string]json.RawMessage   `json:"on_cancel"`
}

// operation is one line of the script.
type operation struct {
	Op               string   `json:"op"`
	Task             string   `json:"task"`
	As               string   `json:"as"`
	Target           string   `json:"target"`
	Mode             string   `json:"mode"`
	Of               []string `json:"of"`
	MS               float64  `json:"ms"`
	TimeoutMS        float64  `json:"timeout_ms"`
	ReturnExceptions bool     `json:"return_exceptions"`
}

// load reads a scenario and stretches its times by scale. A field that is not known is an error: it would be ignored silently.
func load(path string, scale float64) (*scenario, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	var sc scenario
	if err := dec.Decode(&sc); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if sc.Name == "" {
		return nil, fmt.Errorf("%s: no name", path)
	}
	if err := sc.stretch(scale); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return &sc, nil
}

// stretch multiplies every time of the scenario.
func (sc *scenario) stretch(scale float64) error {
	for _, task := range sc.Tasks {
		for _, step := range append(slices.Clone(task.Steps), task.OnCancel) {
			raw, ok := step["sleep_ms"]
			if !ok {
				continue
			}
			var ms float64
			if err := json.Unmarshal(raw, &ms); err != nil {
				return fmt.Errorf("task %q: sleep_ms: %w", task.ID, err)
			}
			step["sleep_ms"] = fmt.Appendf(nil, "%.0f", math.Round(ms*scale))
		}
	}
	for i := range sc.Script {
		sc.Script[i].MS *= scale
		sc.Script[i].TimeoutMS *= scale
	}
	return nil
}

// arguments are those of the sim type.
func (p program) arguments() (json.RawMessage, error) {
	args := map[string]any{"steps": p.Steps}
	if p.OnCancel != nil {
		args["on_cancel"] = p.OnCancel
	}
	return json.Marshal(args)
}

// unsupported returns the operations of the script that this runner does not have, each once: those that need the cancel of
// a whole group, a task group, or an await other than the plain ones.
func (sc *scenario) unsupported() []string {
	var groups, ops []string
	for _, op := range sc.Script {
		name := op.Op
		switch op.Op {
		case "create", "sleep", "await", "as_completed":
			continue
		case "gather":
			groups = append(groups, op.As)
			continue
		case "cancel":
			if !slices.Contains(groups, op.Target) {
				continue
			}
			name = "cancel of a group"
		}
		if !slices.Contains(ops, name) {
			ops = append(ops, name)
		}
	}
	return ops
}
