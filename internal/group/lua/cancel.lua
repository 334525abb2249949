-- cancel flags a group: until its outcome, or as its Settled view until its barrier. Who called goes on with sweep.
-- KEYS  1 the shard's prefix; touches r:<group> z:<group> open
-- ARGV  group view(o|b) failure
-- ANSWER {accepted} · {done} · {expired} · {unknown}
local gid = ARGV[1]
local g = group_read(gid)
if not g.n then
  if redis.call('EXISTS', k_tomb(gid)) == 1 then return {'expired'} end
  return {'unknown'}
end
if g.bs or (ARGV[2] == 'o' and g.oc) then return {'done'} end
if not g.c then
  redis.call('HSET', k_record(gid), 'c', ARGV[3], 'cq', S(now_ms()))
  redis.call('ZADD', OPEN, S(now_ms() + HANDOVER), gid)
end
return {'accepted'}
