-- discard removes messages that nobody waits for any more, and that lie where none of our servers looks.
-- KEYS    1 what the keys of asynq's queue begin with
-- ARGV    IDs…
-- ANSWER  how many were removed
local prefix, n = KEYS[1], 0
for _, id in ipairs(ARGV) do
  local key = prefix .. 't:' .. id
  local state = redis.call('HGET', key, 'state')
  local there = false
  if state == 'retry' or state == 'scheduled' then
    there = redis.call('ZREM', prefix .. state, id) == 1
  elseif state == 'pending' and redis.call('LLEN', prefix .. 'pending') <= 1000 then
    redis.call('LREM', prefix .. 'pending', 0, id)
    there = true
  end
  if there then n = n + redis.call('DEL', key) end
end
return n
