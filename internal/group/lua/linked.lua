-- linked records the end of a member from elsewhere.
-- KEYS  1 the shard's prefix; touches what range touches
-- ARGV  group index state blob failure ('' none) binder(0|1)
-- ANSWER {ok, 0|1 outbox} · {binding} not before the group is bound · {gone} recorded already, or the group is over
local gid, index, state = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local g = group_read(gid)
if not g.n or g.bs then return {'gone'} end
if g.bd and ARGV[6] ~= '1' then return {'binding'} end
if map_get(gid, index, 1) ~= LINKED then return {'gone'} end
redis.call('HDEL', k_ranges(gid), 'l' .. ARGV[2])
local fail = FAILURES[state] and {index, state, ARGV[5]} or nil
return {'ok', record_members(gid, g, {{index, 1}}, {[state] = 1}, ARGV[4], fail, now_ms())}
