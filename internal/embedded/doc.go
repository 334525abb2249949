// Package embedded is a Redis inside this process, for trying things out and for tests: miniredis with a running clock.
//
// It keeps nothing: what is in it ends with it. It is not what a fleet runs on; its scripts are interpreted under one lock,
// some fifty times slower than Redis.
package embedded
