-- park notes that a worker waits for the bells of its queues, and looks once itself: what was enqueued before it waited rings
-- for it at once, whoever enqueued it.
-- KEYS    1 the worker's own bell; then for each queue: its parked workers, and where ARGV[4] is 3 asynq's pending list and its
--         pause mark
-- ARGV    1 the name of this waiting  2 for how long, in ms  3 how long the bell rings, in ms  4 keys per queue, 1 or 3
-- ANSWER  the place of the queue that it rang for, from 1; 0 for none. The bell's element says the same
local step = tonumber(ARGV[4])
return look(1, (#KEYS - 1) / step, step, ARGV[1], ARGV[2], ARGV[3])
