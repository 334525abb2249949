-- cancelmember asks one member to end: at once if nobody has claimed it, else its holder is told.
-- KEYS  1 the shard's prefix; touches r:<group> f:<group> and what sweep touches
-- ARGV  group index failure
-- ANSWER {accepted, 0|1 outbox} · {done} · {expired} · {unknown} · {alone} it has a record of its own · {linked, view;id} it is from elsewhere
local gid, index = ARGV[1], tonumber(ARGV[2])
local g, now = group_read(gid), now_ms()
if not g.n then
  if redis.call('EXISTS', k_tomb(gid)) == 1 then return {'expired'} end
  return {'unknown'}
end
if index >= num(g.n) then return {'unknown'} end
local four = map_get(gid, index, 1)
if four == ALONE then return {'alone'} end
if four == LINKED then return {'linked', redis.call('HGET', k_ranges(gid), 'l' .. ARGV[2]) or ''} end
if four ~= OPEN4 then return {'done'} end
local x = redis.call('HGETALL', k_ranges(gid))
for i = 1, #x, 2 do
  if string.find(x[i], '^%d') then
    local p = split(x[i + 1], ';')
    if index >= tonumber(p[1]) and index < tonumber(p[2]) then
      local mine = true
      for _, r in ipairs(parse_runs(p[9])) do
        if index >= r[1] and index < r[1] + r[2] then mine = false end
      end
      if mine then
        redis.call('HSET', k_flags(gid), ARGV[2], ARGV[3])
        redis.call('PUBLISH', c_inbox(p[5]), pack('c', gid .. ':' .. ARGV[2], p[3], ARGV[3]))
        return {'accepted', 0}
      end
    end
  end
end
local blob = range_head('', now, g.qa) .. entry(index, 'cancelled', 'e', 1, 0, 1, '', ARGV[3])
return {'accepted', record_members(gid, g, {{index, 1}}, {cancelled = 1}, blob, {index, 'cancelled', ARGV[3]}, now)}
