// Package cli is what the commands producer and worker have in common: how they exit, how their flags read the environment,
// how they find Redis, how they log, and how they say which version they are.
//
// It is the commands' own: the library packages know nothing of flags, of the environment or of exit codes.
package cli
