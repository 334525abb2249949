package bench

import "time"

// The parameters of the references: those of bench/README.md's programs, which others compare themselves with, too.
const (
	pingPongTrips   = 3_000
	asynqIdleSlow   = 20
	asynqIdleFast   = 300
	singleTasks     = 20_000
	manyCallers     = 256
	fanOutMembers   = 100_000
	asynqGatherSize = 10_000
)

// scenarios returns all that can be measured, in the order in which it is.
func scenarios(cfg Config) []scenario {
	size := func(full, quick int) int {
		if cfg.Quick {
			return quick
		}
		return full
	}
	return []scenario{
		{name: "round-trip", sides: []side{
			pingPong(size(pingPongTrips, 150)),
			roundTrip(size(pingPongTrips, 150)),
			asynqTasks("asynq-poll idle 1ms", time.Millisecond, size(asynqIdleFast, 30), 1),
			asynqTasks("asynq-poll idle default", 0, size(asynqIdleSlow, 2), 1),
		}},
		{name: "single-256", sides: []side{
			asynqTasks("asynq-poll single", time.Millisecond, size(singleTasks, 512), manyCallers),
			single(size(singleTasks, 512), manyCallers),
		}},
		{name: "single-1", sides: []side{single(size(singleTasks, 100), 1)}},
		{name: "gather-100k", sides: []side{
			fanOut(size(fanOutMembers, 2_000)),
			gather(size(fanOutMembers, 2_000)),
		}},
		{name: "gather-10k", sides: []side{
			asynqGather(size(asynqGatherSize, 200)),
			gather(size(asynqGatherSize, 200)),
		}},
	}
}
