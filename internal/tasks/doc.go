// Package tasks holds the task types of cmd/worker: echo, sleep, file, exec, http and sim. Each is a definition that creators
// in Go can call, and a handler that Register switches on.
//
// What lets a task touch the machine is off until Config says otherwise: file reads below FileRoot alone, exec runs the templates of
// AllowExec alone, http asks below the prefixes of AllowHTTP alone, sim runs only with AllowSim.
//
// Of sim, the steps call, gather, create and progress are not available yet: a program that holds one fails, is not
// retried, and none of its steps is run. So does one with a step or a field that is not known.
package tasks
