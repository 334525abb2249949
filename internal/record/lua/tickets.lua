-- The tickets of a group: field t<place> of its record, "number;holder;nonce;range;message". The message is 0 until it is enqueued, or p of a
-- parked one: it found no permit, is in no queue, and its place stands in pk until room.lua issues it again.

-- exhausted reports whether nothing of a group is unclaimed.
local function exhausted(gid)
  local f = redis.call('HMGET', k_record(gid), 'cs', 'sn')
  return tonumber(f[1]) >= tonumber(f[2]) and redis.call('LLEN', k_returned(gid)) == 0
end

-- ticket_again makes the next number of a ticket's place wait for its delivery. The answer is for who enqueues: group, nonce, place, number, queue.
local function ticket_again(gid, place, now)
  local gk = k_record(gid)
  local f = redis.call('HMGET', gk, 'no', 'q')
  local number = redis.call('HINCRBY', gk, 'tn', 1)
  redis.call('HSET', gk, 't' .. place, S(number) .. ';;;;0')
  redis.call('ZADD', OPEN, S(now + HANDOVER), '#' .. place .. ':' .. gid)
  return {gid, f[1], place, number, f[2]}
end

-- start_tickets makes a group's tickets when its time has come: on creation, or when a delay is over.
local function start_tickets(gid, now)
  local gk = k_record(gid)
  local f = redis.call('HMGET', gk, 'T', 'no', 'q', 'dl', 'mp', 'lt', 'ts', 'sa', 'c')
  local acts = {}
  local at = FAR
  if num(f[4]) > 0 then at = math.min(at, num(f[4])) end
  if not f[8] and num(f[5]) > 0 then at = math.min(at, num(f[5])) end
  if f[9] then at = now end -- its end was requested: somebody must sweep it
  redis.call('ZADD', OPEN, S(at), gid)
  if f[7] then return acts end -- started before
  redis.call('HSET', gk, 'ts', '1', 's', 'pending')
  for k = 0, num(f[1]) - 1 do
    local n = redis.call('HINCRBY', gk, 'tn', 1)
    redis.call('HSET', gk, 't' .. k, S(n) .. ';;;;0')
    redis.call('ZADD', OPEN, S(now + HANDOVER), '#' .. k .. ':' .. gid)
    acts[#acts + 1] = {'ticket', gid, f[2], S(k), n, f[3]}
  end
  redis.call('HSET', gk, 'lt', S(#acts))
  return acts
end
