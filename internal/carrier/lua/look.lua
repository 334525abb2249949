-- look renews the waiting of a parked gate at its queues' bells, and rings its own bell where something is pending that nobody
-- rang for: at once when it parks (park), and on the way with each beat of its worker (package fleet's beat). So what asynq's own
-- tools enqueue waits no longer than from one beat to the next.
-- queues keys begin at KEYS[at + 1], step for each: the queue's parked workers, and where step is more than 1 asynq's pending list
-- and its pause mark; KEYS[at] is the gate's own bell. name is that of the waiting, ms for how long it counts, ring for how long
-- the bell rings. The answer, and the bell's element, is the place of the queue that it rang for, from 1; 0 for none.
local function look(at, queues, step, name, ms, ring)
  local t = redis.call('TIME')
  local ends = string.format('%d', t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ms))
  local rang = 0
  for place = 1, queues do
    local key = at + 1 + (place - 1) * step
    redis.call('ZADD', KEYS[key], ends, name)
    redis.call('PEXPIRE', KEYS[key], ms)
    if step > 1 and rang == 0 and redis.call('EXISTS', KEYS[key + 1]) == 1 and redis.call('EXISTS', KEYS[key + 2]) == 0 then
      rang = place
    end
  end
  if rang > 0 and redis.call('EXISTS', KEYS[at]) == 0 then
    redis.call('LPUSH', KEYS[at], string.format('%d', rang))
    redis.call('PEXPIRE', KEYS[at], ring)
  end
  return rang
end
