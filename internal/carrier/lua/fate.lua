-- fate says what has become of messages of a queue.
-- KEYS    1 what the keys of asynq's queue begin with
-- ARGV    1 the unix second up to which a message that waits for its time is there  2 the longest pending list that is read; then IDs…
-- ANSWER  for each: there · taken · {archived, message} · gone · astray it is there, and nobody will take it soon
local prefix, listed = KEYS[1], nil
-- in_list reports whether a message that says it is pending is in the list, too. Only asynq's own commands keep the two in step; of a long list
-- that is believed.
local function in_list(id)
  if listed == nil then
    listed = false
    local n = redis.call('LLEN', prefix .. 'pending')
    if n <= tonumber(ARGV[2]) then
      listed = {}
      for _, one in ipairs(redis.call('LRANGE', prefix .. 'pending', 0, -1)) do listed[one] = true end
    end
  end
  return not listed or listed[id]
end
local out = {}
for i = 3, #ARGV do
  local id = ARGV[i]
  local key = prefix .. 't:' .. id
  local state, fate = redis.call('HGET', key, 'state'), 'astray'
  if not state then
    fate = 'gone'
  elseif state == 'pending' then
    if in_list(id) then fate = 'there' end
  elseif state == 'active' then
    fate = 'taken'
  elseif state == 'archived' then
    fate = {'archived', redis.call('HGET', key, 'msg') or ''}
  elseif state == 'retry' or state == 'scheduled' then
    local at = redis.call('ZSCORE', prefix .. state, id)
    if at and tonumber(at) <= tonumber(ARGV[1]) then fate = 'there' end
  end
  out[#out + 1] = fate
end
return out
