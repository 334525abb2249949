-- rename changes the name of a waiting, where it still waits; it counts from now.
-- KEYS    the parked workers of each queue (sorted set)
-- ARGV    1 the name that it has  2 the one that it gets  3 how long that counts, in ms
-- ANSWER  in how many queues it waits
local t, n = redis.call('TIME'), 0
local ends = string.format('%d', t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(ARGV[3]))
for _, key in ipairs(KEYS) do
  if redis.call('ZREM', key, ARGV[1]) == 1 then
    redis.call('ZADD', key, ends, ARGV[2])
    n = n + 1
  end
end
return n
