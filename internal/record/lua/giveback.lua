-- giveback returns a claimed task, nothing charged, at once or after a delay. A cancel that came meanwhile ends it.
-- KEYS  1 the shard's prefix; touches r:<id> open h:<worker>; what settle touches when it ends the task
-- ARGV  id number worker delay unknown-type(0|1)
-- ANSWER {ok, 0|1 outbox} · {ok, 0, id, number, queue, how} enqueue this · {fenced} · {gone}; behind an ok hand-overs of those that it made room for
local id, t = ARGV[1], task_read(ARGV[1])
if not t or FINAL[t.s] then return {'gone'} end
local key, now = k_record(id), now_ms()
if t.n ~= ARGV[2] or t.h ~= ARGV[3] then return {'fenced'} end
if t.c then return with_issued({'ok', finish(id, t, 'cancelled', '', t.c, num(t.at) + 1, ARGV[3], now)}) end
release(id, t, now)
redis.call('SREM', k_holdings(ARGV[3]), id)
if ARGV[5] == '1' then
  redis.call('HSETNX', key, 'u', S(now))
  if num(t.at) == 0 then redis.call('HDEL', key, 'sa') end -- no handler saw it
end
if num(ARGV[4]) > 0 then
  redis.call('HSET', key, 's', 'pending', 'mk', '0', 'du', S(now + num(ARGV[4])))
  redis.call('HDEL', key, 'h', 'nc')
  local due = now + num(ARGV[4])
  if num(t.dl) > 0 then due = math.min(due, num(t.dl)) end
  look(id, due)
  return with_issued({'ok', 0})
end
local h = hand_over(id, t, now)
return with_issued({'ok', 0, h[1], h[2], h[3], h[4]})
