-- settle writes the outcome of a task, if the number and the holder are the current ones.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id> open outbox h:<worker>; of a member its group's keys
-- ARGV  id number worker state value failure attempt
-- ANSWER {ok, 0|1 outbox} · {fenced} somebody else holds it · {gone} it ended or never was
local id, t = ARGV[1], task_read(ARGV[1])
if not t then return {'gone'} end
if FINAL[t.s] then -- perhaps this very call, whose answer was lost
  local f = redis.call('HMGET', k_record(id), 'ln', 'wk')
  if f[1] == ARGV[2] and f[2] == ARGV[3] and t.s == ARGV[4] then return {'ok', 1} end
  return {'gone'}
end
if t.n ~= ARGV[2] or t.h ~= ARGV[3] then return {'fenced'} end
return {'ok', finish(id, t, ARGV[4], ARGV[5], ARGV[6], num(ARGV[7]), ARGV[3], now_ms())}
