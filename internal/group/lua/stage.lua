-- stage keeps a packed segment of a group that is not committed, together with its time to live: a producer that dies between
-- two commands leaves nothing for good.
-- KEYS  1 the shard's prefix; touches a:<nonce>:<bucket>
-- ARGV  nonce bucket segment blob ttl
-- ANSWER {ok}
local key = k_args(ARGV[1], ARGV[2])
redis.call('HSET', key, ARGV[3], ARGV[4])
redis.call('PEXPIRE', key, ARGV[5])
return {'ok'}
