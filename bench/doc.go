// Package bench measures what gatherq reaches on a machine, beside what bare Redis commands and asynq with polling reach there in
// the same run: the command "producer bench".
//
// # A fair comparison
//
// Producer and workers are separate processes, for references and candidates, so that nothing wakes up through memory. The sides of a
// scenario take turns on the same Redis, round by round after one round that does not count; a target is met when the median of the
// rounds' ratios meets it. A round ends when every result is in the caller's hand as a decoded, typed value; each is checked after
// the clock has stopped. Members take 32 bytes of JSON and give 32 bytes back, by encoding/json; the handler adds two numbers.
// Connection pools hold 20 connections, on both sides of all. Nothing is pinned, and no setting of Redis is changed.
//
// # What a run leaves
//
// Raw samples, see package report, and nothing in Redis: all keys have one random name in them and are removed at the end, also after
// an interrupt. Worker processes end with the process that started them.
package bench
