-- commit makes a staged group real, in one step.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id> a:<nonce>:<bucket> open
-- ARGV  id nonce members segments queue digest options retention delay at deadline maxpending policy retry_of tickets bind(ms, 0 none) max-running(0 none)
-- ANSWER {new, waits 0|1, number of tickets} · {existing} · {conflict} · {different} · {nostage}
local id, nonce, n, sn, digest, policy = ARGV[1], ARGV[2], num(ARGV[3]), num(ARGV[4]), ARGV[6], ARGV[13]
local key, now = k_record(id), now_ms()
local old = redis.call('HMGET', key, 'dg', 'no', 's', 'k', 'bs')
local again
if old[4] then
  if old[2] == nonce then return {'new', 0, 0} end -- this very commit, whose answer was lost
  if old[1] ~= digest or old[4] ~= 'g' then return {'different'} end
  if policy == 'error' then return {'conflict'} end
  if policy ~= 'rerun' or not old[5] or old[3] == 'succeeded' then return {'existing'} end
  again = true
else
  local tomb = redis.call('GET', k_tomb(id))
  if tomb then
    local z = unpack_all(tomb)
    if z[1] ~= digest or z[4] ~= 'g' then return {'different'} end
    if policy == 'error' then return {'conflict'} end
    if policy ~= 'rerun' or z[3] == 'succeeded' then return {'existing'} end
    again = true
  end
end
local buckets = math.ceil(sn / BUCKET)
for b = 0, buckets - 1 do
  if redis.call('HLEN', k_args(nonce, b)) ~= math.min(BUCKET, sn - b * BUCKET) then return {'nostage'} end
end
local rn = redis.call('HGET', key, 'rn') or '0' -- ranges of a run before are not this one's
if again then
  -- what is left of the ended run goes with it
  local o = group_read(id)
  for b = 0, math.floor((num(redis.call('HGET', key, 'sq')) - 1) / BUCKET) do redis.call('UNLINK', k_results(id, b)) end
  for c = 0, math.floor((num(o.n) - 1) / CHUNK) do redis.call('UNLINK', k_map(id, c)) end
  for b = 0, math.floor((num(o.sn) - 1) / BUCKET) do redis.call('UNLINK', k_args(o.no, b)) end
  redis.call('DEL', key, k_tomb(id))
end
local due = math.max(now + num(ARGV[9]), num(ARGV[10]))
local waits = due > now
redis.call('HSET', key, 'k', 'g', 'no', nonce, 'n', ARGV[3], 'sn', ARGV[4], 'q', ARGV[5], 'dg', digest, 'op', ARGV[7], 'rt', ARGV[8],
  's', waits and 'scheduled' or 'pending', 'qa', S(now), 'du', S(due), 'mp', S(due + num(ARGV[12])), 'T', ARGV[15],
  'cs', '0', 'ci', '0', 'sq', '0', 'dn', '0', 'rn', rn, 'tn', '0', 'lt', '0')
if num(ARGV[11]) > 0 then redis.call('HSET', key, 'dl', ARGV[11]) end
if ARGV[14] ~= '' then redis.call('HSET', key, 'rq', ARGV[14]) end
if num(ARGV[17]) > 0 then redis.call('HSET', key, 'mr', ARGV[17]) end
-- last, so that a commit that memory refuses leaves staging that expires
for b = 0, buckets - 1 do redis.call('PERSIST', k_args(nonce, b)) end
if n == 0 then
  local g = group_read(id)
  close_barrier(id, g, now)
  return {'new', 0, 0}
end
if num(ARGV[16]) > 0 then
  redis.call('HSET', key, 'bd', S(now + num(ARGV[16])))
  bound_by(id, ARGV[11], now + num(ARGV[16]))
end
if waits then
  local at = due
  if num(ARGV[11]) > 0 then at = math.min(at, num(ARGV[11])) end
  if num(ARGV[16]) == 0 then look(id, at) end
  return {'new', 1, 0}
end
local bound = redis.call('ZSCORE', OPEN, id)
local made = start_tickets(id, now)
if bound then redis.call('ZADD', OPEN, bound, id) end
return {'new', 0, #made}
