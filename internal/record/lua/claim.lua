-- claim gives tasks to a worker: from here on the record knows who holds it.
-- KEYS  1 the shard's prefix; touches r:<id> open h:<worker>
-- ARGV  of an item: id number worker nonce
-- ANSWER {claimed, type, args, options, attempt-1, crashes, queued, deadline, cancel requested 0|1, reason, group, index, unknown since}
--        {stale} another number is current · {held} by somebody else · {gone} no such task · {ended}
local now = now_ms()
local function item(id, number, worker, nonce)
  local key = k_record(id)
  local t = task_read(id)
  if not t then return {'gone'} end
  if FINAL[t.s] then return {'ended'} end
  if t.n ~= number then return {'stale'} end
  if t.h then
    if t.h ~= worker or t.nc ~= nonce then return {'held'} end
  else
    if t.s ~= 'pending' then return {'stale'} end
    local out = overdue(id, t, now)
    if out then return {'ended', out} end
    redis.call('HSET', key, 's', 'running', 'h', worker, 'nc', nonce, 'sa', S(now), 'mk', '1', 'wk', worker)
    redis.call('ZADD', OPEN, S(FAR), id)
    redis.call('SADD', k_holdings(worker), id)
  end
  local f = redis.call('HMGET', key, 'ty', 'a', 'op', 'at', 'cr', 'qa', 'dl', 'c', 'g', 'gi', 'u')
  return {'claimed', f[1], f[2] or '', f[3], num(f[4]), num(f[5]), num(f[6]), num(f[7]), f[8] and 1 or 0, f[8] or '', f[9] or '', num(f[10]), num(f[11])}
end
