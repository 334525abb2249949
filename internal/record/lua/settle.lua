-- settle writes the outcomes of tasks, of each if the number and the holder are the current ones.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id> open outbox h:<worker>; of a member its group's keys
-- ARGV  of an item: id number worker state value failure attempt
-- ANSWER {ok, 0|1 outbox, hand-over… of those that it made room for} · {fenced} somebody else holds it · {gone} it ended or never was
local now, seldom = now_ms(), nil -- seldom: what ends a member that travels alone, once it is needed
local left = #ARGV / 7
if left > 1 then bag = {} end
local function settle(id, number, worker, state, value, failed, attempt)
  -- what finish_task needs, and no more: each field that is not there costs a look at all that are
  local f = redis.call('HMGET', k_record(id), 's', 'n', 'h', 'ty', 'rt', 'qa', 'sa', 'dg', 'w', 'l', 'g')
  if not f[1] then return {'gone'} end
  if FINAL[f[1]] then -- perhaps this very call, whose answer was lost
    if f[2] == number and f[1] == state and redis.call('HGET', k_record(id), 'wk') == worker then return {'ok', 1} end
    return {'gone'}
  end
  if f[2] ~= number or f[3] ~= worker then return {'fenced'} end
  if f[11] then
    seldom = seldom or fragments()
    return seldom.with_issued({'ok', seldom.finish(id, seldom.task_read(id), state, value, failed, num(attempt), worker, now)})
  end
  local t = {n = f[2], h = f[3], ty = f[4], rt = f[5], qa = f[6], sa = f[7], dg = f[8], w = f[9], l = f[10]}
  return {'ok', finish_task(id, t, state, value, failed, num(attempt), worker, now)}
end

local function item(...)
  local answer = settle(...)
  left = left - 1
  if left == 0 and bag then say_all() end
  return answer
end
