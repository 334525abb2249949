// Package wire is a proxy between a program and Redis that knows where commands and answers begin and end, and breaks the wire at a
// chosen command: for tests that let a program die, or lose an answer, at each of its commands in turn. It counts the commands of all
// connections in the order in which they reach Redis.
package wire
