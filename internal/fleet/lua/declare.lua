-- declare says that a worker is dead, if it has not beaten since. Whoever declares it deals with it; another one may take over
-- when that takes too long.
-- KEYS  1 the fleet's prefix; touches w:<worker>
-- ARGV  worker, beat that was read, who declares it, how long it has for its next word (ms)
-- ANSWER {dead, 0|1 it was draining} · {alive} it has beaten since, or was buried · {busy} somebody else deals with it
local key = KEYS[1] .. 'w:' .. ARGV[1]
local t = redis.call('TIME')
local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
if not redis.call('ZSCORE', KEYS[1] .. 'workers', ARGV[1]) then return {'alive'} end
local f = redis.call('HMGET', key, 'n', 'draining', 'by')
if (f[1] or '0') ~= ARGV[2] then return {'alive'} end
local by, at = string.match(f[3] or '', '^(.*)@(%d+)$')
if by and by ~= ARGV[3] and math.abs(now - tonumber(at)) < tonumber(ARGV[4]) then return {'busy'} end
redis.call('HSET', key, 'dead', ARGV[2], 'by', ARGV[3] .. '@' .. string.format('%.0f', now))
return {'dead', f[2] == '1' and 1 or 0}
