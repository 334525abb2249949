-- info reads all that is known of a task or group but arguments and results.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id> x:<id>
-- ARGV  id
-- ANSWER {unknown} · {expired, state} · {record, now, pttl, name, value, …}; of a group also "running", how many members are in a worker's hands
local id = ARGV[1]
local key = k_record(id)
local f = redis.call('HGETALL', key)
if #f == 0 then
  local tomb = redis.call('GET', k_tomb(id))
  if tomb then return {'expired', unpack_all(tomb)[3] or ''} end
  return {'unknown'}
end
local out = {'record', S(now_ms()), S(redis.call('PTTL', key))}
local skip = {a = true, v = true, w = true, l = true, lo = true, lb = true, dg = true, le = true}
local kind
for i = 1, #f, 2 do
  if f[i] == 'k' then kind = f[i + 1] end
  if not skip[f[i]] then
    out[#out + 1] = f[i]
    out[#out + 1] = f[i] == 'cr' and S(crash_count(f[i + 1], now_ms())) or f[i + 1]
  end
end
if kind == 'g' then
  local running = 0
  local x = redis.call('HGETALL', k_ranges(id))
  for i = 1, #x, 2 do
    if string.find(x[i], '^%d') then running = running + num(split(x[i + 1], ';')[8]) end
  end
  out[#out + 1] = 'running'
  out[#out + 1] = S(running)
end
return out
