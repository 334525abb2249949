-- park notes that a worker waits for the bells of its queues. Where something is pending already it rings the worker's own bell
-- at once, so nothing that was enqueued after the worker looked last is waited for, whoever enqueued it.
-- KEYS    1 the worker's own bell; then for each queue: its parked workers, and where ARGV[4] is 3 asynq's pending list and its
--         pause mark
-- ARGV    1 the name of this waiting  2 for how long, in ms  3 how long the bell rings, in ms  4 keys per queue, 1 or 3
-- ANSWER  the place of the queue that it rang for, from 1; 0 for none. The bell's element says the same
local t = redis.call('TIME')
local ends = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[2])
local rang, step = 0, tonumber(ARGV[4])
for i = 2, #KEYS, step do
  redis.call('ZADD', KEYS[i], string.format('%d', ends), ARGV[1])
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
  if step == 3 and rang == 0 and redis.call('EXISTS', KEYS[i + 1]) == 1 and redis.call('EXISTS', KEYS[i + 2]) == 0 then
    rang = (i - 2) / step + 1
  end
end
if rang > 0 then
  redis.call('LPUSH', KEYS[1], string.format('%d', rang))
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return rang
