-- mark notes that a hand-over's enqueue succeeded, and by which message of asynq's: nobody repeats it while that message is there.
-- KEYS  1 the shard's prefix; touches r:<id> open
-- ARGV  again (1: it was handed back in another message, which counts from now on; 0: what is marked stays as it is),
--       {task, id, number | ticket, group, place, number}… flattened: kind id number place message
-- ANSWER how many were marked
local marked, again = 0, ARGV[1] == '1'
local GRANT = 30000 -- ms that a permit waits for the delivery of its member; a queue may be paused, or served by nobody
for i = 2, #ARGV, 5 do
  local kind, id, number, place, message = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local key = k_record(id)
  if kind == 'task' then
    local f = redis.call('HMGET', key, 's', 'n')
    if f[1] == 'pending' and f[2] == number then -- most have been claimed, or have ended, when their mark comes
      local t = redis.call('HMGET', key, 'h', 'dl', 'mp', 'sa', 'mk', 'pt')
      -- '0': given back meanwhile, to be handed over later
      if not t[1] and t[5] ~= '0' and (again or not t[5]) then
        redis.call('HSET', key, 'mk', message)
        local at = rest({dl = t[2], mp = t[3], sa = t[4]})
        if t[6] == '1' then at = math.min(at, now_ms() + GRANT) end
        redis.call('ZADD', OPEN, S(at), id)
        marked = marked + 1
      end
    end
  else
    local t = redis.call('HGET', key, 't' .. place)
    local p = t and split(t, ';')
    if p and p[1] == number and p[2] == '' and (again or p[5] == '0') then
      redis.call('HSET', key, 't' .. place, number .. ';;;;' .. message)
      redis.call('ZADD', OPEN, S(FAR), '#' .. place .. ':' .. id)
      marked = marked + 1
    end
  end
end
return marked
