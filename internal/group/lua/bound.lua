-- bound ends the binding: members that ranges carry may start.
-- KEYS  1 the shard's prefix; touches r:<group> open
-- ARGV  group, arguments of members are gone 0|1
-- ANSWER {ticket hand-overs: group, nonce, place, number, queue}…
local gid = ARGV[1]
local gk, now = k_record(gid), now_ms()
local g = group_read(gid)
if not g.n or g.bs or not g.bd then return {} end
redis.call('HDEL', gk, 'bd')
if ARGV[2] == '1' and num(redis.call('HGET', gk, 'T')) == 0 then redis.call('HSET', gk, 'T', '1') end -- whoever pulls ends those
local du = num(redis.call('HGET', gk, 'du'))
if redis.call('HGET', gk, 's') == 'scheduled' and du > now then
  local at = num(g.dl) > 0 and math.min(du, num(g.dl)) or du
  look(gid, g.c and now or at) -- its end was requested: somebody must sweep it
  return {}
end
local out = {}
for _, h in ipairs(start_tickets(gid, now)) do out[#out + 1] = {h[2], h[3], h[4], h[5], h[6]} end
return out
