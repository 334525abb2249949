-- beat says that a worker lives, does the errands, and answers which other workers are late with their beats.
-- KEYS    1 the worker's beat (hash)  2 the workers (sorted set: id, last beat in ms)  3 who leads  4 the namespace's meta (hash);
--         from 5 on those of errands
-- ARGV    1 to 8 those of errands  9 id  10 beat  11 beat of a death that is dealt with  12 late after, in ms  13 how long it is known,
--         in ms; then fields, values
-- ANSWER  {seconds, microseconds, what errands answers, 0|1 it had been declared dead or was forgotten, mark, which master this is, {id, beat,
--         its time in ms}… who is late}
-- The mark grows with every beat of any worker: one that is smaller than another seen before is of a Redis that has gone back.
-- Who is late by Redis' clock is only looked at: a survivor judges by its own (silence.go). A time in the future is late, too.
local key, list, worker, beat = KEYS[1], KEYS[2], ARGV[9], tonumber(ARGV[10])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local function S(n) return string.format('%.0f', n) end
local f = redis.call('HMGET', key, 'n', 'dead')
local dead = (f[2] and tonumber(f[2]) > tonumber(ARGV[11]) or not f[1] and beat > 1) and 1 or 0
if dead == 0 then
  if f[2] then redis.call('HDEL', key, 'dead', 'by') end
elseif not f[2] then
  redis.call('HSET', key, 'dead', S(beat - 1)) -- until it is dealt with, also where this answer is lost
end
if not f[1] or tonumber(f[1]) <= beat then -- else a later one overtook it
  redis.call('HSET', key, 'n', ARGV[10], 'at', S(now), unpack(ARGV, 14))
  redis.call('PEXPIRE', key, ARGV[13])
  redis.call('ZADD', list, S(now), worker)
end
local about = redis.pcall('INFO', 'replication') -- the embedded Redis does not know it
local master = type(about) == 'string' and string.match(about, 'master_replid:(%x+)') or ''
local answer = {t[1], t[2], errands(worker, KEYS[3], 5, ARGV), dead, redis.call('HINCRBY', KEYS[4], 'mark', 1), master}
local others = string.sub(key, 1, -#worker - 1)
local function late(from, to)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', list, from, to, 'LIMIT', 0, 100)) do
    if id ~= worker then
      local w = redis.call('HMGET', others .. id, 'n', 'at')
      answer[#answer + 1] = {id, w[1] or '0', w[2] or '0'}
    end
  end
end
late('-inf', S(now - tonumber(ARGV[12])))
late('(' .. S(now), '+inf')
return answer
