//go:build race

package integration

// underRace says that the race detector slows every step.
const underRace = true
