-- settle writes the outcomes of tasks, of each if the number and the holder are the current ones.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id> open outbox h:<worker>; of a member its group's keys
-- ARGV  of an item: id number worker state value failure attempt
-- ANSWER {ok, 0|1 outbox} · {fenced} somebody else holds it · {gone} it ended or never was
local now = now_ms()
local function item(id, number, worker, state, value, failed, attempt)
  local t = task_read(id)
  if not t then return {'gone'} end
  if FINAL[t.s] then -- perhaps this very call, whose answer was lost
    local f = redis.call('HMGET', k_record(id), 'ln', 'wk')
    if f[1] == number and f[2] == worker and t.s == state then return {'ok', 1} end
    return {'gone'}
  end
  if t.n ~= number or t.h ~= worker then return {'fenced'} end
  return {'ok', finish(id, t, state, value, failed, num(attempt), worker, now)}
end
