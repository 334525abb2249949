-- head moves a message that was just enqueued, and that nobody has taken yet, to the head of its queue.
-- KEYS    1 pending of asynq's queue
-- ARGV    1 the message's ID
-- ANSWER  1 moved · 0 it is taken
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
redis.call('RPUSH', KEYS[1], ARGV[1])
return 1
