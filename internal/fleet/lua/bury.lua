-- bury takes a worker off the list that holds nothing any more, if it has not beaten since that beat.
-- KEYS  1 the fleet's prefix; touches w:<worker> workers
-- ARGV  worker, beat
-- ANSWER 1 it is gone · 0 it has beaten since
local key = KEYS[1] .. 'w:' .. ARGV[1]
if (redis.call('HGET', key, 'n') or '0') ~= ARGV[2] then return 0 end
redis.call('DEL', key)
redis.call('ZREM', KEYS[1] .. 'workers', ARGV[1])
return 1
