-- mark notes that a hand-over's enqueue succeeded, so that nobody repeats it.
-- KEYS  1 the shard's prefix; touches r:<id> open
-- ARGV  {task, id, number | ticket, group, place, number}… flattened: kind id number place
-- ANSWER how many were marked
local marked = 0
for i = 1, #ARGV, 4 do
  local kind, id, number, place = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key = k_record(id)
  if kind == 'task' then
    local t = redis.call('HMGET', key, 's', 'n', 'h', 'dl', 'mp', 'sa', 'mk')
    -- '0': given back meanwhile, to be handed over later
    if t[1] == 'pending' and t[2] == number and not t[3] and t[7] ~= '0' then
      redis.call('HSET', key, 'mk', '1')
      redis.call('ZADD', OPEN, S(rest({dl = t[4], mp = t[5], sa = t[6]})), id)
      marked = marked + 1
    end
  else
    local t = redis.call('HGET', key, 't' .. place)
    local p = t and split(t, ';')
    if p and p[1] == number and p[2] == '' then
      redis.call('HSET', key, 't' .. place, number .. ';;;;1')
      redis.call('ZADD', OPEN, S(FAR), '#' .. place .. ':' .. id)
      marked = marked + 1
    end
  end
end
return marked
