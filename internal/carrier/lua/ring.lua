-- ring wakes as many parked workers of a queue as it is told, and takes as many off the list of the parked.
-- KEYS    1 the queue's parked workers (sorted set: a waiting, until when in ms)  2 the queue's bell (list)
-- ARGV    1 how many deliveries there are  2 the longest a bell may grow  3 how long it rings, in ms
-- ANSWER  how many were rung for
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now))
local room = math.min(tonumber(ARGV[1]), tonumber(ARGV[2]) - redis.call('LLEN', KEYS[2]))
if room < 1 then return 0 end
local parked = redis.call('ZRANGE', KEYS[1], 0, room - 1)
for _, who in ipairs(parked) do
  redis.call('ZREM', KEYS[1], who)
  redis.call('LPUSH', KEYS[2], '1')
end
if #parked > 0 then redis.call('PEXPIRE', KEYS[2], ARGV[3]) end
return #parked
