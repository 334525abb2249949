-- mark notes that a hand-over's enqueue succeeded, so that nobody repeats it.
-- KEYS  1 the shard's prefix; touches r:<id> open
-- ARGV  {task, id, number | ticket, group, place, number}… flattened: kind id number place
-- ANSWER how many were marked
local marked = 0
local GRANT = 30000 -- ms that a permit waits for the delivery of its member; a queue may be paused, or served by nobody
for i = 1, #ARGV, 4 do
  local kind, id, number, place = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local key = k_record(id)
  if kind == 'task' then
    local f = redis.call('HMGET', key, 's', 'n')
    if f[1] == 'pending' and f[2] == number then -- most have been claimed, or have ended, when their mark comes
      local t = redis.call('HMGET', key, 'h', 'dl', 'mp', 'sa', 'mk', 'pt')
      -- '0': given back meanwhile, to be handed over later
      if not t[1] and t[5] ~= '0' then
        redis.call('HSET', key, 'mk', '1')
        local at = rest({dl = t[2], mp = t[3], sa = t[4]})
        if t[6] == '1' then at = math.min(at, now_ms() + GRANT) end
        redis.call('ZADD', OPEN, S(at), id)
        marked = marked + 1
      end
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
