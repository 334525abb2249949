//go:build !race

package integration

const (
	underRace     = false // the race detector slows every step
	parallelTests = "8"   // at a time
)
