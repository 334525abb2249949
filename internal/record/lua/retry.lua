-- retry charges a failed attempt and lets the task wait for the next one. A cancel that came meanwhile ends it with the failure.
-- KEYS  1 the shard's prefix; touches r:<id> open h:<worker>; what settle touches when it ends the task
-- ARGV  id number worker delay failure
-- ANSWER {ok, 0|1 outbox, hand-over… of those that it made room for} · {fenced} · {gone}
local id, t = ARGV[1], task_read(ARGV[1])
if not t or FINAL[t.s] then return {'gone'} end
local key, now = k_record(id), now_ms()
if t.s == 'retrying' and t.cn == ARGV[2] .. ' ' .. ARGV[3] then return {'ok', 0} end -- this very call again
if t.n ~= ARGV[2] or t.h ~= ARGV[3] then return {'fenced'} end
if t.c then return with_issued({'ok', finish(id, t, 'failed', '', ARGV[5], num(t.at) + 1, ARGV[3], now)}) end
redis.call('HINCRBY', key, 'at', 1)
redis.call('HSET', key, 's', 'retrying', 'le', ARGV[5], 'du', S(now + num(ARGV[4])), 'cn', ARGV[2] .. ' ' .. ARGV[3])
redis.call('HDEL', key, 'h', 'nc', 'mk')
redis.call('SREM', k_holdings(ARGV[3]), id)
local due = now + num(ARGV[4])
if num(t.dl) > 0 then due = math.min(due, num(t.dl)) end
look(id, due)
release(id, t, now)
return with_issued({'ok', 0})
