-- range settles members of an open range: all that this worker has, at once.
-- KEYS  1 the shard's prefix; touches r:<group> x:<group> v:<group>:<bucket> i:<group>:<chunk> z:<group> m:<group> outbox open h:<worker>
-- ARGV  group range number worker runs blob failed-index failed-state failure, then {state, how many}…
-- ANSWER {ok, 0|1 outbox} · {fenced} the range is not this worker's any more · {gone}
local gid, rid = ARGV[1], ARGV[2]
local g = group_read(gid)
if not g.n or g.bs then return {'gone'} end
local p = held(gid, rid, ARGV[3], ARGV[4])
local runs, n = parse_runs(ARGV[5]), 0
local set = 0
for _, r in ipairs(runs) do
  n = n + r[2]
  local map = map_get(gid, r[1], r[2])
  if map ~= string.rep(OPEN4, r[2]) then set = set + 1 end
end
if not p then return {'fenced'} end
if set > 0 then return {'fenced'} end -- written already: this very call again, or members that are not the caller's
local counts = {}
for i = 10, #ARGV, 2 do counts[ARGV[i]] = num(ARGV[i + 1]) end
local fail = ARGV[7] ~= '' and {tonumber(ARGV[7]), ARGV[8], ARGV[9]} or nil
shrink(gid, rid, p, n)
return {'ok', record_members(gid, g, runs, counts, ARGV[6], fail, now_ms())}
