-- free counts the workers that wait for a delivery with a slot free for it.
-- KEYS    1 the queue's parked workers (sorted set: a waiting, until when in ms)
-- ARGV    1 what the asker's own names begin with  2 what names end with whose slot others use  3 how long a name counts, in ms
--         4 how long ago it must have been told, in ms
-- ANSWER  how many, of the first 64
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local names, n = redis.call('ZRANGE', KEYS[1], 0, 63, 'WITHSCORES'), 0
for i = 1, #names, 2 do
  local name, ends = names[i], tonumber(names[i + 1])
  if string.sub(name, 1, #ARGV[1]) ~= ARGV[1] and string.sub(name, -#ARGV[2]) ~= ARGV[2] and ends > now and ends - ARGV[3] + ARGV[4] <= now then
    n = n + 1
  end
end
return n
