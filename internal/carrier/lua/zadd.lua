-- zadd is ZADD where Redis' memory is full: asynq's own list of servers, and its leases.
-- KEYS    1 the sorted set
-- ARGV    those of ZADD behind the key
-- ANSWER  ZADD's
return redis.call('ZADD', KEYS[1], unpack(ARGV))
