-- begin notes that the handler of a suspect begins, so that a death of its worker before that is not charged to it.
-- KEYS  1 the shard's prefix; touches r:<id>
-- ARGV  id number worker
-- ANSWER {ok} · {fenced} somebody else holds it, or it has ended
local f = redis.call('HMGET', k_record(ARGV[1]), 'n', 'h')
if f[1] ~= ARGV[2] or f[2] ~= ARGV[3] then return {'fenced'} end
redis.call('HSET', k_record(ARGV[1]), 'bg', ARGV[2])
return {'ok'}
