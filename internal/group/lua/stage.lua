-- stage keeps packed segments of a group that is not committed, together with their time to live: a producer that dies between
-- two commands leaves nothing for good.
-- KEYS  1 the shard's prefix; touches a:<nonce>:<bucket>
-- ARGV  nonce bucket ttl, then {segment, blob}…
-- ANSWER {ok}
local key = k_args(ARGV[1], ARGV[2])
redis.call('HSET', key, unpack(ARGV, 4))
redis.call('PEXPIRE', key, ARGV[3])
return {'ok'}
