-- claim gives tasks to a worker: from here on the record knows who holds it.
-- KEYS  1 the shard's prefix; touches r:<id> open h:<worker>; of a member r:<group> p:<group>
-- ARGV  of an item: id number worker nonce
-- ANSWER {waits} until fewer members of its group run: its record has a place in the group's line
--        {claimed, type, args, options, attempt-1, crashes, queued, deadline, cancel requested 0|1, reason, group, index, unknown since}
--        {stale} another number is current · {held} by somebody else · {gone} no such task · {ended} ·
--        {later} ask again: the arguments of the others are large enough
local now, seldom = now_ms(), nil -- seldom: what ends a task, once it is needed
local room = 1048576 -- bytes of arguments that still go into the answers; one goes in any case
local function item(id, number, worker, nonce)
  if room <= 0 then return {'later'} end
  local key = k_record(id)
  local f = redis.call('HMGET', key, 's', 'n', 'ty', 'a', 'qa', 'mp', 'h', 'op', 'at', 'cr', 'dl', 'c', 'sa', 'g', 'gi', 'u', 'pt')
  if not f[1] then return {'gone'} end
  if FINAL[f[1]] then return {'ended'} end
  if f[2] ~= number then return {'stale'} end
  if f[7] then
    if f[7] ~= worker or redis.call('HGET', key, 'nc') ~= nonce then return {'held'} end
  else
    if f[1] ~= 'pending' then return {'stale'} end
    if f[11] and now >= num(f[11]) or not f[13] and num(f[6]) > 0 and now >= num(f[6]) then
      seldom = seldom or fragments()
      return {'ended', seldom.overdue(id, seldom.task_read(id), now) or 0}
    end
    if f[17] and f[17] ~= '1' then -- of a group with a bound (room.lua)
      local b = redis.call('HMGET', k_record(f[14]), 'mr', 'pm')
      if num(b[2]) >= num(b[1]) then
        if f[17] ~= 'w' then
          redis.call('RPUSH', k_line(f[14]), f[15])
          redis.call('HSET', key, 'pt', 'w', 'mk', 'p')
          redis.call('ZADD', OPEN, S(rest({dl = f[11], mp = f[6], sa = f[13]})), id)
        end
        return {'waits'}
      end
      redis.call('HINCRBY', k_record(f[14]), 'pm', 1)
      redis.call('HSET', key, 'pt', '1')
    end
    redis.call('HSET', key, 's', 'running', 'h', worker, 'nc', nonce, 'sa', S(now))
    redis.call('SADD', k_holdings(worker), id)
  end
  local args = f[4] or ''
  room = room - #args
  return {'claimed', f[3], args, f[8] or '', num(f[9]), crash_count(f[10], now), num(f[5]), num(f[11]), f[12] and 1 or 0, f[12] or '', f[14] or '', num(f[15]), num(f[16])}
end
