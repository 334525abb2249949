-- link asks whether a task or group has ended and, if not, notes who must hear of it.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id>; of a member m:<group> i:<group>:<chunk>
-- ARGV  of an item: id, view (t a task or group: its outcome; b a group's barrier), group, index
-- ANSWER {linked, 1 the link is new} · {unknown} · {member} of a group, and it has ended · {ended, state, value, failure, kind v|o|b, ms since} (of
--        a group the value is its ID)
local function item(id, view, gid, index)
  local link = pack(pack(gid, index))
  local f = redis.call('HMGET', k_record(id), 'k', 's', 'v', 'e', 'oc', 'oe', 'bs', 'c', 'g', 'fa')
  local function ended(state, value, err, kind, since)
    return {'ended', state, value, err, kind, since and math.max(0, now_ms() - num(since)) or FAR}
  end
  if not f[1] or f[9] then
    local of, at = string.match(id, '^(.+):(%d+)$')
    local g = of and redis.call('HMGET', k_record(of), 'k', 'n')
    if g and g[1] == 'g' then
      if tonumber(at) >= num(g[2]) then return {'unknown'} end
      local four = map_get(of, tonumber(at), 1)
      if four ~= OPEN4 and four ~= ALONE and four ~= LINKED then return {'member'} end
      local links = redis.call('HGET', k_readers(of), 'L' .. at) or ''
      if string.find(links, link, 1, true) then return {'linked', 0} end
      redis.call('HSET', k_readers(of), 'L' .. at, links .. link)
      redis.call('HSET', k_record(of), 'mw', '1')
      return {'linked', 1}
    end
    local tomb = redis.call('GET', k_tomb(id))
    if tomb then return ended('expired', '', '{"k":"expired"}', 'v') end
    return {'unknown'}
  end
  local field = 'l'
  if f[1] == 't' then
    if FINAL[f[2]] then return ended(f[2], f[3] or '', f[4] or '', 'v', f[10]) end
  elseif view == 'b' then
    field = 'lb'
    if f[7] then return ended(f[8] and 'cancelled' or 'succeeded', id, f[8] or '', 'b', f[7]) end
  else
    field = 'lo'
    if f[5] then return ended(f[5], id, f[6] or '', 'o', f[10]) end
  end
  local links = redis.call('HGET', k_record(id), field) or ''
  if string.find(links, link, 1, true) then return {'linked', 0} end
  redis.call('HSET', k_record(id), field, links .. link)
  return {'linked', 1}
end
