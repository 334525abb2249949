-- begin says what all clients of a namespace must agree upon, where nobody has said it.
-- KEYS    1 the namespace's meta (hash)
-- ARGV    shards schema
-- ANSWER  {shards, schema} as they stand
redis.call('HSETNX', KEYS[1], 'shards', ARGV[1])
redis.call('HSETNX', KEYS[1], 'schema', ARGV[2])
return redis.call('HMGET', KEYS[1], 'shards', 'schema')
