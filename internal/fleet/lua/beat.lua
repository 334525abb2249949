-- beat notes that a worker lives, and does the errands.
-- KEYS    1 the worker's beat (hash)  2 the workers (sorted set: id, last long beat in ms)  3 who leads; from 4 on those of errands
-- ARGV    1 to 8 those of errands  9 id  10 how long a beat counts, in ms  11 1 for a long beat, which renews that; then fields, values
-- ANSWER  {seconds, microseconds, what errands answers}
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('HSET', KEYS[1], unpack(ARGV, 12))
if ARGV[11] == '1' then
  redis.call('PEXPIRE', KEYS[1], ARGV[10])
  -- Who was killed could not take itself off the list.
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('(%.0f', now - tonumber(ARGV[10])))
  redis.call('ZADD', KEYS[2], string.format('%.0f', now), ARGV[9])
end
return {t[1], t[2], errands(ARGV[9], KEYS[3], 4, ARGV)}
