-- cancel asks a task to end. What has not started ends at once; a running one keeps the request, and its holder is told.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id> open outbox; of a member its group's keys
-- ARGV  id failure (encoded, with the reason)
-- ANSWER {accepted, state, 0|1 outbox} · {done, state, 0} · {expired, '', 0} · {unknown, '', 0}
local id, t = ARGV[1], task_read(ARGV[1])
if not t then
  if redis.call('EXISTS', k_tomb(id)) == 1 then return {'expired', '', 0} end
  return {'unknown', '', 0}
end
if t.k ~= 't' then return {'unknown', '', 0} end
if FINAL[t.s] then return {'done', t.s, 0} end
local now = now_ms()
if not t.c then redis.call('HSET', k_record(id), 'c', ARGV[2], 'cq', S(now)) end
if t.h then
  redis.call('PUBLISH', c_inbox(t.h), pack('c', id, t.n, t.c or ARGV[2]))
  return {'accepted', 'cancelling', 0}
end
return {'accepted', 'cancelled', finish(id, t, 'cancelled', '', t.c or ARGV[2], num(t.at) + 1, '', now)}
