package tasks

import (
	"encoding/json"
	"testing"
)

// A program's JSON is read for each execution.
func BenchmarkProgram(b *testing.B) {
	data := []byte(`{"steps":[{"return":{"a":1234,"b":5678,"c":"xyz"}}]}`)
	b.ReportAllocs()
	for b.Loop() {
		var p program
		if err := json.Unmarshal(data, &p); err != nil {
			b.Fatal(err)
		}
	}
}
