-- alone gives a member that no range carries (another queue, a time of its own) a record while the group is being bound.
-- KEYS  1 the shard's prefix; touches r:<group> r:<group>:<index> x:<group> i:<group>:<chunk> open
-- ARGV  group index type queue args options retention delay at deadline maxpending
-- ANSWER {ok} it waits for its time · {ok, id, number, queue} enqueue this · {gone} it is there already, or the group has ended
local gid, index = ARGV[1], tonumber(ARGV[2])
local g = group_read(gid)
if not g.n or g.bs or map_get(gid, index, 1) ~= OPEN4 then return {'gone'} end
local id, now = gid .. ':' .. ARGV[2], now_ms()
local due = math.max(now + num(ARGV[8]), num(ARGV[9])) -- the group's own time is in ARGV[9]
local dl = num(ARGV[10])
if num(g.dl) > 0 and (dl == 0 or num(g.dl) < dl) then dl = num(g.dl) end
map_set(gid, index, 1, ALONE)
redis.call('HSET', k_ranges(gid), 'a' .. ARGV[2], '1')
redis.call('HSET', k_record(id), 'k', 't', 'ty', ARGV[3], 'q', ARGV[4], 'a', ARGV[5], 'op', ARGV[6], 'rt', ARGV[7], 'g', gid, 'gi', ARGV[2],
  's', 'scheduled', 'n', '0', 'at', '0', 'qa', g.qa, 'du', S(due), 'mp', S(due + num(ARGV[11])))
if dl > 0 then redis.call('HSET', k_record(id), 'dl', S(dl)) end
if g.mr then redis.call('HSET', k_record(id), 'pt', '0') end
if due > now then
  look(id, dl > 0 and math.min(due, dl) or due)
  return {'ok'}
end
local h = hand_over(id, task_read(id), now)
return {'ok', h[1], h[2], h[3]}
