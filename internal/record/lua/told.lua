-- told removes outbox entries that have arrived.
-- KEYS  1 the shard's prefix; touches outbox
-- ARGV  field…
-- ANSWER how many were there
return redis.call('HDEL', OUTBOX, unpack(ARGV))
