-- sent says of open work which message of asynq's it waits for, and who holds what is held.
-- KEYS  1 the shard's prefix; touches open and the records named
-- ARGV  entries of open…
-- ANSWER {who holds any of it…} {groups that are bound…} {task, id, '', queue, message | ticket, group, place, queue, message}… flattened
local holders, groups, waiting, known = {}, {}, {}, {}
local function held(worker)
  if worker and not known[worker] then
    known[worker] = true
    holders[#holders + 1] = worker
  end
end
local function waits(kind, id, place, queue, message)
  local n = #waiting
  waiting[n + 1], waiting[n + 2], waiting[n + 3], waiting[n + 4], waiting[n + 5] = kind, id, place, queue, message
end
local function ask(id)
  if string.byte(id) == 35 then -- a ticket, "#place:group"
    local place, gid = string.match(id, '^#(%d+):(.*)$')
    local f = redis.call('HMGET', k_record(gid), 't' .. place, 'q')
    if not f[1] then
      redis.call('ZREM', OPEN, id)
    else
      local p = split(f[1], ';')
      if p[2] ~= '' then
        held(p[2])
      elseif p[5] ~= '0' and p[5] ~= '' and p[5] ~= 'p' then -- p: parked (tickets.lua)
        waits('ticket', gid, place, f[2], p[5])
      end
    end
  else
    -- what nearly every task has, and no more: each field that is not there costs a look at all that are
    local key = k_record(id)
    local f = redis.call('HMGET', key, 's', 'k', 'q', 'mk')
    if not f[2] then
      redis.call('ZREM', OPEN, id)
    elseif f[2] == 'g' then
      if redis.call('HEXISTS', key, 'bd') == 0 then groups[#groups + 1] = id end
    elseif f[1] ~= 'pending' then
      held(redis.call('HGET', key, 'h'))
    elseif f[4] and f[4] ~= '0' and f[4] ~= '' and f[4] ~= 'p' then -- p: it waits for a permit (room.lua)
      waits('task', id, '', f[3], f[4])
    end
  end
end
for _, id in ipairs(ARGV) do apart(ask, id) end -- who looks for what is due names those that cannot be read
return {holders, groups, waiting}
