//go:build race

package integration

const (
	underRace     = true // the race detector slows every step
	parallelTests = "5"  // at a time: eight starve
)
