-- leave takes a member out of its range, to travel alone: after a failure that may be retried, or because this worker cannot run it.
-- KEYS  1 the shard's prefix; touches r:<group> r:<group>:<index> x:<group> i:<group>:<chunk> open h:<worker>; what range touches where the group's end was requested
-- ARGV  group range number worker index type queue args options retention delay charged(0|1) failure unknown-type(0|1)
-- ANSWER {ok, 0|1 outbox} · {ok, 0, id, number, queue, how} enqueue this · {fenced} · {gone}; behind an ok hand-overs of those that it made room for
local gid, rid, index = ARGV[1], ARGV[2], tonumber(ARGV[5])
local g = group_read(gid)
if not g.n or g.bs then return {'gone'} end
local id = gid .. ':' .. ARGV[5]
local p = held(gid, rid, ARGV[3], ARGV[4])
if p and map_get(gid, index, 1) == ALONE then return {'ok', 0} end -- this very call again
if not p or map_get(gid, index, 1) ~= OPEN4 then return {'fenced'} end
local now = now_ms()
shrink(gid, g, rid, p, 1, now)
map_set(gid, index, 1, ALONE)
redis.call('HSET', k_ranges(gid), 'a' .. ARGV[5], '1')
redis.call('HSET', k_record(id), 'k', 't', 'ty', ARGV[6], 'q', ARGV[7], 'a', ARGV[8], 'op', ARGV[9], 'rt', ARGV[10], 'g', gid, 'gi', ARGV[5],
  's', 'retrying', 'n', ARGV[3], 'at', ARGV[12], 'qa', g.qa, 'du', S(now + num(ARGV[11])), 'cr', p[4], 'mp', g.mp or '0')
if g.dl then redis.call('HSET', k_record(id), 'dl', g.dl) end
if ARGV[12] == '1' then redis.call('HSET', k_record(id), 'le', ARGV[13], 'sa', S(now)) end
if ARGV[12] == '0' and p[4] ~= '' then redis.call('HSET', k_record(id), 'sa', S(now)) end -- it had started
if ARGV[14] == '1' then redis.call('HSET', k_record(id), 'u', S(now)) end
if g.mr then redis.call('HSET', k_record(id), 'pt', '0') end
local flag = redis.call('HGET', k_flags(gid), ARGV[5]) or g.c
if flag then
  local t = task_read(id)
  if ARGV[12] == '1' then return with_issued({'ok', finish(id, t, 'failed', '', ARGV[13], 1, ARGV[4], now)}) end
  return with_issued({'ok', finish(id, t, 'cancelled', '', flag, 1, ARGV[4], now)})
end
if num(ARGV[11]) == 0 then
  local h = hand_over(id, task_read(id), now)
  return with_issued({'ok', 0, h[1], h[2], h[3], h[4]})
end
if ARGV[12] == '0' then redis.call('HSET', k_record(id), 's', 'pending', 'mk', '0') end
local due = now + num(ARGV[11])
if num(g.dl) > 0 then due = math.min(due, num(g.dl)) end
look(id, due)
return with_issued({'ok', 0})
