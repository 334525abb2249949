-- What waits for a delivery in asynq's hands. A message's ID is never used twice, so it stands for one number.

-- waits_for returns the task if it waits for that message, else nil.
local function waits_for(id, message)
  local t = task_read(id)
  if t and t.s == 'pending' and not t.h and t.mk == message then return t end
  return nil
end

-- ticket_waits_for reports whether a ticket does.
local function ticket_waits_for(gid, place, message)
  local field = redis.call('HGET', k_record(gid), 't' .. place)
  local p = field and split(field, ';')
  return p and p[2] == '' and p[5] == message
end
