package bench

import "time"

// The parameters of the references.
const (
	pingPongTrips   = 3_000
	asynqIdleSlow   = 20
	asynqIdleFast   = 300
	singleTasks     = 20_000
	manyCallers     = 256
	fanOutMembers   = 100_000
	asynqGatherSize = 10_000
)

// wakeWorkers are idle when one task is created.
const wakeWorkers = 50

// scenarios returns all that can be measured, in the order in which it is.
func scenarios(cfg Config) []scenario {
	size := func(full, quick int) int {
		if cfg.Quick {
			return quick
		}
		return full
	}
	idleTime, parkTime := time.Duration(size(60, 1))*time.Second, time.Duration(size(5, 1))*time.Second
	if cfg.Quick {
		cfg.Fleet = min(cfg.Fleet, 3)
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
		{name: "gather-1ms", sides: []side{onWorkers(1, 16, naps(size(10_000, 500), 1, 0, 0))}},
		{name: "gather-100ms", jobs: fleetOf(8, 16), fresh: true, sides: []side{
			sleeping("cold", naps(size(1_000, 200), 100, 0, 0), 8*16),
			sleeping("warm", naps(size(1_000, 200), 100, 0, 0), 8*16),
		}},
		{name: "stragglers", sides: []side{stragglers(naps(size(20_000, 500), 1, 100, size(3_000, 300)), 4, 16)}},
		{name: "processes", sides: []side{
			onWorkers(1, 16, naps(size(2_000, 100), 20, 0, 0)),
			onWorkers(2, 16, naps(size(2_000, 100), 20, 0, 0)),
			onWorkers(4, 16, naps(size(2_000, 100), 20, 0, 0)),
		}},
		{name: "sim", jobs: oneWorker(), sides: []side{
			echoGather(size(fanOutMembers, 2_000)),
			simGather(size(fanOutMembers, 2_000)),
		}},
		{name: "beside-gather", sides: []side{beside(size(100_000, 2_000), 8)}},
		{name: "commands", once: true, jobs: oneWorker(), sides: []side{
			countedTasks(size(500, 50), 1),
			countedTasks(size(5_000, 512), manyCallers),
			countedGather(size(fanOutMembers, 2_000)),
		}},
		{name: "idle-alone", once: true, sides: []side{idle(1, parkTime, idleTime)}},
		{name: "idle-fleet", once: true, sides: []side{idle(cfg.Fleet, parkTime, idleTime)}},
		{name: "awaits", once: true, sides: []side{awaits(size(10_000, 500))}},
		{name: "stored", sides: []side{stored(size(fanOutMembers, 2_000))}},
		{name: "latency", cold: true, sides: []side{latency(size(cfg.Members, 5_000), size(20, 2))}},
		{name: "stream", cold: true, sides: []side{
			stream(size(cfg.Members, 5_000), 0),
			stream(size(cfg.Members, 5_000), size(15_000, 200)),
		}},
		{name: "wake", cold: true, sides: []side{wake(size(wakeWorkers, 3), size(20, 3), parkTime)}},
	}
}
