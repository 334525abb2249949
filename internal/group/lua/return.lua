-- return gives members of an open range back that have not started; they are taken before the cursor. Of a
-- group whose end was requested, or whose deadline has passed, they end.
-- KEYS  1 the shard's prefix; touches r:<group> x:<group> y:<group> open h:<worker>
-- ARGV  group range number worker runs
-- ANSWER {ok, 0|1 outbox} · {ok, 0, group, nonce, place, number, queue} no ticket was left: enqueue this one · {fenced} · {gone}
local gid, rid = ARGV[1], ARGV[2]
local g = group_read(gid)
if not g.n or g.bs then return {'gone'} end
local p = held(gid, rid, ARGV[3], ARGV[4])
if not p then return {'fenced'} end
local gk, now, n = k_record(gid), now_ms(), 0
local state, err = stopped(g, now)
if state then -- nobody will run them any more: they end here
  local entries, all = {}, {}
  for _, r in ipairs(parse_runs(ARGV[5])) do
    for i = r[1], r[1] + r[2] - 1 do
      if map_get(gid, i, 1) == OPEN4 then
        entries[#entries + 1] = entry(i, state, 'e', 1, num(p[3]), 1, '', err)
        all[#all + 1] = {i, 1}
      end
    end
  end
  if #all == 0 then return {'ok', 0} end -- this very call again
  shrink(gid, rid, p, #all)
  return {'ok', record_members(gid, g, all, {[state] = #all}, range_head(ARGV[4], now, g.qa) .. table.concat(entries), {all[1][1], state, err}, now)}
end
local except = p[9]
for _, r in ipairs(parse_runs(ARGV[5])) do
  for _, e in ipairs(parse_runs(p[9])) do
    if r[1] == e[1] then return {'ok', 0} end -- this very call again
  end
  redis.call('RPUSH', k_returned(gid), S(r[1]) .. ';' .. S(r[1] + r[2]) .. ';' .. S(tonumber(p[3]) + 1) .. ';' .. p[4] .. ';' .. p[7] .. ';')
  except = except .. (except == '' and '' or ',') .. S(r[1]) .. ',' .. S(r[2])
  n = n + r[2]
end
p[9] = except
shrink(gid, rid, p, n)
if num(redis.call('HGET', gk, 'lt')) > 0 then return {'ok', 0} end
local number = redis.call('HINCRBY', gk, 'tn', 1)
redis.call('HSET', gk, 't0', S(number) .. ';;;;0', 'lt', '1')
redis.call('HSET', gk, 'T', S(math.max(1, num(redis.call('HGET', gk, 'T')))))
redis.call('ZADD', OPEN, S(now + HANDOVER), '#0:' .. gid)
return {'ok', 0, gid, g.no, '0', number, g.q}
