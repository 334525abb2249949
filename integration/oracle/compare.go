package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
)

// differences compares two JSON texts as values, numbers in full precision and objects without order, and returns a line
// for each place where they differ.
func differences(want, got []byte) ([]string, error) {
	w, err := parse(want)
	if err != nil {
		return nil, fmt.Errorf("expected: %w", err)
	}
	g, err := parse(got)
	if err != nil {
		return nil, fmt.Errorf("seen: %w", err)
	}
	return diff(nil, "", w, g), nil
}

func parse(data []byte) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber() // a float64 would make neighbours of large integers equal
	var v any
	err := dec.Decode(&v)
	return v, err
}

func diff(lines []string, path string, want, got any) []string {
	switch w := want.(type) {
	case map[string]any:
		if g, ok := got.(map[string]any); ok {
			return diffObjects(lines, path, w, g)
		}
	case []any:
		if g, ok := got.([]any); ok && len(g) == len(w) {
			for i := range w {
				lines = diff(lines, path+"["+strconv.Itoa(i)+"]", w[i], g[i])
			}
			return lines
		}
	case json.Number:
		if g, ok := got.(json.Number); ok && sameNumber(w, g) {
			return lines
		}
	case string, bool, nil:
		if want == got { // of differing types, say a string and an object, this is false
			return lines
		}
	}
	return append(lines, fmt.Sprintf("%s: expected %s, seen %s", path, text(want), text(got)))
}

func diffObjects(lines []string, path string, want, got map[string]any) []string {
	for _, key := range slices.Sorted(maps.Keys(want)) {
		at := path + "." + key
		if g, ok := got[key]; ok {
			lines = diff(lines, at, want[key], g)
		} else {
			lines = append(lines, fmt.Sprintf("%s: expected %s, seen nothing", at, text(want[key])))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[key]; !ok {
			lines = append(lines, fmt.Sprintf("%s.%s: expected nothing, seen %s", path, key, text(got[key])))
		}
	}
	return lines
}

// sameNumber reports whether two literals are the same number: 1 and 1.0 are, 9007199254740993 and its neighbour are not.
func sameNumber(a, b json.Number) bool {
	if a == b {
		return true
	}
	x, ok := new(big.Rat).SetString(a.String())
	if !ok {
		return false
	}
	y, ok := new(big.Rat).SetString(b.String())
	return ok && x.Cmp(y) == 0
}

func text(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
