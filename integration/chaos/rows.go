package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

//go:embed rows.json
var rowsJSON []byte

// row is a fault of the matrix with the tests that do it.
type row struct {
	ID    string   `json:"id"`
	Fault string   `json:"fault"`
	CI    []string `json:"ci,omitempty"`   // "package.Test", run by every make test, some of them in a short form
	Hand  []string `json:"hand,omitempty"` // "VARIABLE=value package.Test", too long for that
	Why   string   `json:"why,omitempty"`  // why there is no test, or none of a part
}

// test is one entry of a row.
type test struct {
	env  []string
	pkg  string // below the module
	name string
}

func (t test) String() string {
	return strings.Join(append(append([]string(nil), t.env...), t.pkg+"."+t.name), " ")
}

// rows reads the matrix.
func rows() ([]row, error) {
	var all []row
	d := json.NewDecoder(strings.NewReader(string(rowsJSON)))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		return nil, fmt.Errorf("rows.json: %w", err)
	}
	seen := map[string]bool{}
	for _, r := range all {
		if seen[r.ID] {
			return nil, fmt.Errorf("rows.json: %s stands there twice", r.ID)
		}
		seen[r.ID] = true
		if len(r.CI) == 0 && len(r.Hand) == 0 && r.Why == "" {
			return nil, fmt.Errorf("rows.json: %s has neither a test nor a reason", r.ID)
		}
		for _, s := range append(append([]string(nil), r.CI...), r.Hand...) {
			if _, err := parseTest(s); err != nil {
				return nil, fmt.Errorf("rows.json: %s: %w", r.ID, err)
			}
		}
	}
	return all, nil
}

var errEntry = errors.New(`not "VARIABLE=value… package.Test"`)

// parseTest reads an entry.
func parseTest(s string) (t test, err error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return t, fmt.Errorf("%q: %w", s, errEntry)
	}
	t.env = words[:len(words)-1]
	dot := strings.LastIndexByte(words[len(words)-1], '.')
	if dot < 0 {
		return t, fmt.Errorf("%q: %w", s, errEntry)
	}
	t.pkg, t.name = words[len(words)-1][:dot], words[len(words)-1][dot+1:]
	for _, e := range t.env {
		if !strings.Contains(e, "=") {
			return t, fmt.Errorf("%q: %w", s, errEntry)
		}
	}
	if !strings.HasPrefix(t.name, "Test") && !strings.HasPrefix(t.name, "Fuzz") {
		return t, fmt.Errorf("%q: %w", s, errEntry)
	}
	return t, nil
}
