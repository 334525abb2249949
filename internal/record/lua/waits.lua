-- What waits for a delivery in asynq's hands.

-- waits_for returns the task if it waits for that message, else nil.
local function waits_for(id, number, message)
  local t = task_read(id)
  if t and t.s == 'pending' and not t.h and t.n == number and t.mk == message then return t end
  return nil
end

-- ticket_waits_for reports whether a ticket does.
local function ticket_waits_for(gid, place, number, message)
  return redis.call('HGET', k_record(gid), 't' .. place) == number .. ';;;;' .. message
end
