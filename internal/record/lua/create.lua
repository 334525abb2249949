-- create stores a task, once.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id> open
-- ARGV  id type queue args digest options retention delay at deadline maxpending policy retry_of nonce
--       (milliseconds; at and deadline are absolute, 0 none; policy return|error|rerun; the nonce names this creation, so that
--       it finds its own work when its answer was lost)
-- ANSWER {new, number, 0|1 waits} · {existing, number, 0} · {conflict, 0, 0} the policy says so · {different, 0, 0} other type or arguments
local id, digest, policy = ARGV[1], ARGV[5], ARGV[12]
local key, now = k_record(id), now_ms()
local old = redis.call('HMGET', key, 'dg', 'n', 's', 'k', 'no')
local last
if old[4] then
  if ARGV[14] ~= '' and old[5] == ARGV[14] then
    if old[3] == 'scheduled' then return {'new', num(old[2]) + 1, 1} end
    return {'new', num(old[2]), old[3] == 'pending' and 0 or 1}
  end
  if old[1] ~= digest or old[4] ~= 't' then return {'different', 0, 0} end
  if policy == 'error' then return {'conflict', 0, 0} end
  if policy ~= 'rerun' or not FINAL[old[3]] or old[3] == 'succeeded' then return {'existing', num(old[2]), 0} end
  last = old[2]
else
  local tomb = redis.call('GET', k_tomb(id))
  if tomb then
    local z = unpack_all(tomb)
    if z[1] ~= digest or z[4] ~= 't' then return {'different', 0, 0} end
    if policy == 'error' then return {'conflict', 0, 0} end
    if policy ~= 'rerun' or z[3] == 'succeeded' then return {'existing', num(z[2]), 0} end
    last = z[2]
  end
end
-- a run again goes on from the last number, so that no old delivery can speak for the new one
local number = num(last) + 1
local due = math.max(now + num(ARGV[8]), num(ARGV[9]))
local waits = due > now
if last then redis.call('DEL', key, k_tomb(id)) end
redis.call('HSET', key, 'k', 't', 'ty', ARGV[2], 'q', ARGV[3], 'a', ARGV[4], 'dg', digest, 'op', ARGV[6], 'rt', ARGV[7],
  's', waits and 'scheduled' or 'pending', 'n', waits and S(number - 1) or S(number), 'at', '0', 'qa', S(now), 'du', S(due), 'mp', S(due + num(ARGV[11])))
if num(ARGV[10]) > 0 then redis.call('HSET', key, 'dl', ARGV[10]) end
if ARGV[13] ~= '' then redis.call('HSET', key, 'rq', ARGV[13]) end
if ARGV[14] ~= '' then redis.call('HSET', key, 'no', ARGV[14]) end
if waits then
  if num(ARGV[10]) > 0 then due = math.min(due, num(ARGV[10])) end
  look(id, due)
  return {'new', number, 1}
end
redis.call('ZADD', OPEN, S(now + HANDOVER), id)
return {'new', number, 0}
