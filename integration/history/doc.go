// Package history records what the processes of a fault test do, and judges it afterwards.
//
// Every operation is two events: invoke before it, and ok, fail or info behind it (info: nobody knows whether it happened). Each event
// is one line of JSON and one write(2) to a file that all processes append to, before the operation goes on, so a process that is killed
// leaves all that it did up to then. The times are CLOCK_MONOTONIC, which all processes of a machine share.
//
// Check knows nothing of gatherq's code: it reads events alone.
package history
