-- ticket makes a group's next ticket where members are unclaimed and no ticket lives.
-- KEYS  1 the shard's prefix; touches r:<group> y:<group> open
-- ARGV  group
-- ANSWER {group, nonce, place, number, queue} enqueue this · {} it needs none
local gid = ARGV[1]
local gk, g = k_record(gid), group_read(gid)
local f = redis.call('HMGET', gk, 'ts', 'T', 'lt')
if not g.n or g.bs or g.bd or not f[1] or num(f[2]) == 0 then return {} end -- ended, not begun, or no member is in a range
local live = 0
for place = 0, num(f[2]) - 1 do live = live + redis.call('HEXISTS', gk, 't' .. S(place)) end
if live ~= num(f[3]) then redis.call('HSET', gk, 'lt', S(live)) end
if live > 0 or exhausted(gid) then return {} end
redis.call('HSET', gk, 'lt', '1')
return ticket_again(gid, '0', now_ms())
