package main

import (
	"bytes"
	"fmt"
)

// replace puts text between the markers of a section: <!-- begin NAME --> and <!-- end NAME -->, each on a line of its own.
func replace(page []byte, name, text string) ([]byte, error) {
	begin, end := []byte("<!-- begin "+name+" -->\n"), []byte("<!-- end "+name+" -->\n")
	if bytes.Count(page, begin) != 1 || bytes.Count(page, end) != 1 {
		return nil, fmt.Errorf("want the markers of section %q once each", name)
	}
	head, rest, _ := bytes.Cut(page, begin)
	if !bytes.Contains(rest, end) {
		return nil, fmt.Errorf("section %q ends before it begins", name)
	}
	_, tail, _ := bytes.Cut(rest, end)
	return bytes.Join([][]byte{head, begin, []byte("\n" + text + "\n"), end, tail}, nil), nil
}
