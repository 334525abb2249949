-- park notes that a worker waits for the bells of its queues. Where something is pending already it rings at once, so nothing
-- that was enqueued after the worker looked last is waited for, whoever enqueued it.
-- KEYS    for each queue: its parked workers, its bell; where ARGV[4] is 4 also asynq's pending list and its pause mark
-- ARGV    1 the worker  2 for how long, in ms  3 how long a bell rings, in ms  4 keys per queue, 2 or 4
-- ANSWER  how many queues it rang for
local t = redis.call('TIME')
local ends = t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[2])
local rung, step = 0, tonumber(ARGV[4])
for i = 1, #KEYS, step do
  redis.call('ZADD', KEYS[i], string.format('%d', ends), ARGV[1])
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
  if step == 4 and redis.call('EXISTS', KEYS[i + 2]) == 1 and redis.call('EXISTS', KEYS[i + 3]) == 0 then
    if redis.call('EXISTS', KEYS[i + 1]) == 0 then
      redis.call('LPUSH', KEYS[i + 1], '1')
      redis.call('PEXPIRE', KEYS[i + 1], ARGV[3])
    end
    rung = rung + 1
  end
end
return rung
