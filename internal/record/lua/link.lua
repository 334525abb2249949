-- link asks whether a task or group has ended and, if not, notes who must hear of it.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id>; of a member m:<group> i:<group>:<chunk>
-- ARGV  id, view (t a task or group: its outcome; b a group's barrier), group, index
-- ANSWER {linked} · {unknown} · {member} of a group, and it has ended · {ended, state, value, failure, kind v|o|b} (of a group the value is its ID)
local id, view, link = ARGV[1], ARGV[2], pack(pack(ARGV[3], ARGV[4]))
local f = redis.call('HMGET', k_record(id), 'k', 's', 'v', 'e', 'oc', 'oe', 'bs', 'c', 'g')
if not f[1] or f[9] then
  local gid, index = string.match(id, '^(.+):(%d+)$')
  local g = gid and redis.call('HMGET', k_record(gid), 'k', 'n')
  if g and g[1] == 'g' then
    if tonumber(index) >= num(g[2]) then return {'unknown'} end
    local four = map_get(gid, tonumber(index), 1)
    if four ~= OPEN4 and four ~= ALONE and four ~= LINKED then return {'member'} end
    local links = redis.call('HGET', k_readers(gid), 'L' .. index) or ''
    if not string.find(links, link, 1, true) then redis.call('HSET', k_readers(gid), 'L' .. index, links .. link) end
    redis.call('HSET', k_record(gid), 'mw', '1')
    return {'linked'}
  end
  local tomb = redis.call('GET', k_tomb(id))
  if tomb then return {'ended', 'expired', '', '{"k":"expired"}', 'v'} end
  return {'unknown'}
end
local field = 'l'
if f[1] == 't' then
  if FINAL[f[2]] then return {'ended', f[2], f[3] or '', f[4] or '', 'v'} end
elseif view == 'b' then
  field = 'lb'
  if f[7] then return {'ended', f[8] and 'cancelled' or 'succeeded', id, f[8] or '', 'b'} end
else
  field = 'lo'
  if f[5] then return {'ended', f[5], id, f[6] or '', 'o'} end
end
local links = redis.call('HGET', k_record(id), field) or ''
if not string.find(links, link, 1, true) then redis.call('HSET', k_record(id), field, links .. link) end
return {'linked'}
