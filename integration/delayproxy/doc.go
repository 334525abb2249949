// Package delayproxy is a wire of a chosen length between a client and a server, for tests that count round trips: with a delay
// that is long against everything else, how long something took says how often it crossed the wire.
package delayproxy
