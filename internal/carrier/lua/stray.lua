-- stray takes a message out of asynq's active list that nobody acknowledged: back to the head of its queue, or away.
-- KEYS  active, lease and pending of asynq's queue, and the message's own key
-- ARGV  ID, 1 to put it back, 0 to remove it
-- ANSWER 1 done · 0 it was acknowledged meanwhile
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then
  redis.call('ZREM', KEYS[2], ARGV[1])
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
if ARGV[2] == '1' then
  redis.call('HSET', KEYS[4], 'state', 'pending')
  redis.call('RPUSH', KEYS[3], ARGV[1])
else
  redis.call('DEL', KEYS[4])
end
return 1
