-- sent says of open work which message of asynq's it waits for, and who holds what is held.
-- KEYS  1 the shard's prefix; touches open and the records named
-- ARGV  entries of open…
-- ANSWER {who holds any of it…} {groups that are bound…} {task, id, number, queue, message | ticket, group, place, number, queue, message}… flattened
local holders, groups, waiting, known = {}, {}, {}, {}
local function held(worker)
  if not known[worker] then
    known[worker] = true
    holders[#holders + 1] = worker
  end
end
local function waits(...)
  for _, v in ipairs({...}) do waiting[#waiting + 1] = v end
end
for _, id in ipairs(ARGV) do
  local place, gid = string.match(id, '^#(%d+):(.*)$')
  if place then
    local f = redis.call('HMGET', k_record(gid), 't' .. place, 'q')
    if not f[1] then
      redis.call('ZREM', OPEN, id)
    else
      local p = split(f[1], ';')
      if p[2] ~= '' then
        held(p[2])
      elseif p[5] ~= '0' and p[5] ~= '' then
        waits('ticket', gid, place, p[1], f[2], p[5])
      end
    end
  else
    local f = redis.call('HMGET', k_record(id), 'k', 's', 'h', 'mk', 'n', 'q', 'bd')
    if not f[1] then
      redis.call('ZREM', OPEN, id)
    elseif f[1] == 'g' then
      if not f[7] then groups[#groups + 1] = id end
    elseif f[3] then
      held(f[3])
    elseif f[2] == 'pending' and f[4] and f[4] ~= '0' and f[4] ~= '' then
      waits('task', id, '', f[5], f[6], f[4])
    end
  end
end
return {holders, groups, waiting}
