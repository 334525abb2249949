-- create stores tasks, each once.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id> open
-- ARGV  of an item: id type queue args digest options retention delay at deadline maxpending policy retry_of nonce inbox
--       (milliseconds; at and deadline are absolute, 0 none; policy return|error|rerun; the nonce names this creation, so that
--       it finds its own work when its answer was lost; the inbox, '' for none, is told of the end as if it had watched)
-- ANSWER {new, number, 0|1 waits} · {existing, number, 0} · {conflict, 0, 0} the policy says so · {different, 0, 0} other type or arguments
local now = now_ms()
local soon = S(now + HANDOVER)
-- meet is what comes of an ID that is taken: an answer, or the number that a run again goes on from.
local function meet(id, digest, policy, nonce)
  local old = redis.call('HMGET', k_record(id), 'dg', 'n', 's', 'k', 'no')
  if old[4] then
    if nonce ~= '' and old[5] == nonce then
      if old[3] == 'scheduled' then return {'new', num(old[2]) + 1, 1} end
      return {'new', num(old[2]), old[3] == 'pending' and 0 or 1}
    end
    if old[1] ~= digest or old[4] ~= 't' then return {'different', 0, 0} end
    if policy == 'error' then return {'conflict', 0, 0} end
    if policy ~= 'rerun' or not FINAL[old[3]] or old[3] == 'succeeded' then return {'existing', num(old[2]), 0} end
    return nil, old[2]
  end
  local z = unpack_all(redis.call('GET', k_tomb(id)))
  if z[1] ~= digest or z[4] ~= 't' then return {'different', 0, 0} end
  if policy == 'error' then return {'conflict', 0, 0} end
  if policy ~= 'rerun' or z[3] == 'succeeded' then return {'existing', num(z[2]), 0} end
  return nil, z[2]
end

local function item(id, typ, queue, args, digest, options, retention, delay, at, deadline, maxpending, policy, retry_of, nonce, inbox)
  local key = k_record(id)
  local last
  if redis.call('EXISTS', key, k_tomb(id)) > 0 then
    local answer
    answer, last = meet(id, digest, policy, nonce)
    if answer then return answer end
  end
  -- a run again goes on from the last number, so that no old delivery can speak for the new one
  local number = num(last) + 1
  local due = math.max(now + num(delay), num(at))
  local waits = due > now
  if last then redis.call('DEL', key, k_tomb(id)) end
  local f = {'s', waits and 'scheduled' or 'pending', 'n', waits and S(number - 1) or S(number), 'k', 't', 'ty', typ,
    'q', queue, 'rt', retention, 'qa', S(now), 'mp', S(due + num(maxpending)), 'dg', digest}
  local function add(name, value)
    f[#f + 1] = name
    f[#f + 1] = value
  end
  if inbox ~= '' then add('w', register('', inbox, 't', 0, now)) end
  if options ~= '' then add('op', options) end
  if waits then add('du', S(due)) end
  if num(deadline) > 0 then add('dl', deadline) end
  if retry_of ~= '' then add('rq', retry_of) end
  if nonce ~= '' then add('no', nonce) end
  add('a', args) -- last, since it is long
  redis.call('HSET', key, unpack(f))
  if waits then
    if num(deadline) > 0 then due = math.min(due, num(deadline)) end
    look(id, due)
    return {'new', number, 1}
  end
  redis.call('ZADD', OPEN, soon, id)
  return {'new', number, 0}
end
