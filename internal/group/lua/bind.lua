-- bind notes that a member is a task or group from elsewhere.
-- KEYS  1 the shard's prefix; touches r:<group> x:<group> i:<group>:<chunk>
-- ARGV  group, then {index, view;id}…
-- ANSWER how many were open
local gid, n = ARGV[1], 0
if redis.call('HGET', k_record(gid), 'bd') then
  for i = 2, #ARGV, 2 do
    local index = tonumber(ARGV[i])
    if map_get(gid, index, 1) == OPEN4 then
      map_set(gid, index, 1, LINKED)
      redis.call('HSET', k_ranges(gid), 'l' .. ARGV[i], ARGV[i + 1])
      n = n + 1
    end
  end
  local at = now_ms() + HANDOVER
  redis.call('HSET', k_record(gid), 'bd', S(at))
  bound_by(gid, redis.call('HGET', k_record(gid), 'dl'), at)
end
return n
