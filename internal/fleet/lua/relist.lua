-- relist puts workers that hold something back on the list which no longer names them: from there on their lives are judged as all others' are.
-- One that lives beats on; of another, whoever reads the list finds it silent.
-- KEYS  1 the fleet's prefix; touches workers w:<worker>
-- ARGV  how long a worker is known (ms), then {worker, the beat that it has passed for certain}…
-- ANSWER the workers that were not there
local out = {}
for i = 2, #ARGV, 2 do
  if not redis.call('ZSCORE', KEYS[1] .. 'workers', ARGV[i]) then
    local key = KEYS[1] .. 'w:' .. ARGV[i]
    redis.call('HSETNX', key, 'n', ARGV[i + 1])
    redis.call('PEXPIRE', key, ARGV[1])
    redis.call('ZADD', KEYS[1] .. 'workers', '0', ARGV[i])
    out[#out + 1] = ARGV[i]
  end
end
return out
