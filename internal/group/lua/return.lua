-- return gives members of an open range back that have not started; they are taken before the cursor. Of a
-- group whose end was requested, or whose deadline has passed, they end.
-- KEYS  1 the shard's prefix; touches r:<group> x:<group> y:<group> open h:<worker>
-- ARGV  group range number worker runs
-- ANSWER {ok, 0|1 outbox} · {ok, 0, group, nonce, place, number, queue} no ticket was left: enqueue this one · {fenced} · {gone}; behind an ok hand-overs
--        of those that it made room for
local gid, rid = ARGV[1], ARGV[2]
local g = group_read(gid)
if not g.n or g.bs then return {'gone'} end
local p = held(gid, rid, ARGV[3], ARGV[4])
if not p then return {'fenced'} end
local outbox, t = range_back(gid, g, rid, p, parse_runs(ARGV[5]), now_ms())
if t then return with_issued({'ok', 0, t[1], t[2], t[3], t[4], t[5]}) end
return with_issued({'ok', outbox})
