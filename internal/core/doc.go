// Package core is the seam under pkg/jobs and pkg/await: the engine of a client, and what a handle holds.
//
// The handles of pkg/jobs embed One or Many under an unexported name, so pkg/await reaches what is inside through the
// functions here, and neither public package exports an accessor for the other. Nothing outside the module can
// implement Handle, Awaitable or Set.
//
// Results stay undecoded here: a Fate is how something ended, a Raw its value, which is bytes or, of a group, the fates of its
// members. What they look like to users (types, errors, JSON) is package jobs' to know; it lends that knowledge as a Face.
package core
