-- where reads a part of a group's map.
-- KEYS  1 the shard's prefix; touches r:<group> z:<group> i:<group>:<chunk>
-- ARGV  group from count
-- ANSWER {members, done, map} · {} no such group
local n = redis.call('HMGET', k_record(ARGV[1]), 'n', 'dn', 'k')
if n[3] ~= 'g' then return {} end
local from = num(ARGV[2])
local count = math.max(0, math.min(num(ARGV[3]), num(n[1]) - from))
return {n[1], n[2], map_get(ARGV[1], from, count)}
