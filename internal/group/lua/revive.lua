-- revive says that a worker which had been declared dead beats again: what was taken from it stays where it is, what was not is
-- its own again, and the crashes that this death charged do not count.
-- KEYS  1 the shard's prefix; touches u:<worker>
-- ARGV  worker, beat (its last one at which it can have been declared dead)
-- ANSWER {ok}
local before = redis.call('GET', k_revived(ARGV[1]))
if before and tonumber(before) >= tonumber(ARGV[2]) then return {'ok'} end
redis.call('SET', k_revived(ARGV[1]), ARGV[2], 'EX', DAY + 60)
return {'ok'}
