-- flags says which of a worker's tasks were asked to end, and which it does not hold any more: the answer to its beat.
-- KEYS  1 the shard's prefix; touches r:<id>
-- ARGV  worker, then {id, number}…
-- ANSWER for each that needs a word: id, number, 'cancel' or 'fenced', failure
local out = {}
for i = 2, #ARGV, 2 do
  local f = redis.call('HMGET', k_record(ARGV[i]), 'n', 'h', 'c')
  if f[1] ~= ARGV[i + 1] or f[2] ~= ARGV[1] then
    out[#out + 1] = {ARGV[i], ARGV[i + 1], 'fenced', ''}
  elseif f[3] then
    out[#out + 1] = {ARGV[i], ARGV[i + 1], 'cancel', f[3]}
  end
end
return out
