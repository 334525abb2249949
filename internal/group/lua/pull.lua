-- pull claims a ticket, or goes on with it, and takes the next range of its group. It answers
--   range, id, from, to, number, crashes, segment, map ('' all are open), arguments ('' if held), queue, queued, deadline, MaxRunning ('' none), then index and
--     failure of each member whose end was requested
--   empty: the ticket is closed · full: no permit is free, the ticket waits in the record · notyet: ask again soon · sweep: end what is unclaimed, then pull again · stale: drop it
-- A range takes a permit for each of its members, though short ones may run one after the other: it is at most a part of the bound, so that
-- several workers always have one.
local SHARES = 4

-- park takes a ticket from its holder until there is a permit. It has a new number: a delivery that comes twice does not find it.
local function park(gid, place, worker)
  local gk = k_record(gid)
  local parked = redis.call('HGET', gk, 'pk') or ''
  redis.call('SREM', k_holdings(worker), 't|' .. gid .. '|' .. place)
  redis.call('HSET', gk, 't' .. place, S(redis.call('HINCRBY', gk, 'tn', 1)) .. ';;;;p', 'pk', parked == '' and place or parked .. ',' .. place)
end

local function pull(gid, nonce, place, number, worker, call, want, share, have)
  local gk, now = k_record(gid), now_ms()
  local g = group_read(gid)
  if g.no ~= nonce then
    if redis.call('EXISTS', k_args(nonce, 0)) == 1 then return {'notyet'} end
    return {'stale'}
  end
  if g.bs then return {'stale'} end
  local field = redis.call('HGET', gk, 't' .. place)
  local t = field and split(field, ';')
  if not t or t[1] ~= number or (t[2] ~= '' and t[2] ~= worker) then return {'stale'} end
  if t[2] == '' then
    redis.call('SADD', k_holdings(worker), 't|' .. gid .. '|' .. place)
    redis.call('ZADD', OPEN, S(FAR), '#' .. place .. ':' .. gid)
  end
  if g.bd then
    redis.call('HSET', gk, 't' .. place, number .. ';' .. worker .. ';;;1')
    return {'notyet'}
  end
  local rid, p, map
  if t[3] == call and call ~= '' then -- this very pull, whose answer was lost
    local x = redis.call('HGET', k_ranges(gid), t[4])
    if x then
      rid, p = t[4], split(x, ';')
      map = open_members(gid, tonumber(p[1]), tonumber(p[2]), p[9])
    end
  end
  if not rid then
    if stopped(g, now) or (not g.sa and num(g.mp) > 0 and now >= num(g.mp)) then
      if not exhausted(gid) then
        redis.call('HSET', gk, 't' .. place, number .. ';' .. worker .. ';;;1')
        return {'sweep'}
      end
    end
    want = num(want)
    if share ~= '0' then want = math.min(want, math.ceil((num(g.n) - num(redis.call('HGET', gk, 'ci'))) / share)) end
    if g.mr then
      local room = num(g.mr) - num(redis.call('HGET', gk, 'pm'))
      if room < 1 and not exhausted(gid) then
        park(gid, place, worker)
        return {'full'}
      end
      want = math.min(want, room, math.ceil(num(g.mr) / SHARES))
    end
    local from, to, n, died, seg, left, m, except = take_range(gid, math.max(want, 1))
    if not from and not exhausted(gid) then -- long stretches of members that ranges do not carry
      redis.call('HSET', gk, 't' .. place, number .. ';' .. worker .. ';;;1')
      return {'notyet'}
    end
    if not from then
      redis.call('SREM', k_holdings(worker), 't|' .. gid .. '|' .. place)
      close_ticket(gid, place)
      return {'empty'}
    end
    rid = S(redis.call('HINCRBY', gk, 'rn', 1))
    p = {S(from), S(to), S(n), died, worker, call, S(seg), S(left), except}
    map = m
    redis.call('HSET', k_ranges(gid), rid, table.concat(p, ';'))
    redis.call('SADD', k_holdings(worker), 'x|' .. gid .. '|' .. rid)
    if g.mr then redis.call('HINCRBY', gk, 'pm', left) end
    if not g.sa then redis.call('HSET', gk, 'sa', S(now)) end
    if g.oc == nil then redis.call('HSET', gk, 's', 'running') end
  end
  redis.call('HSET', gk, 't' .. place, number .. ';' .. worker .. ';' .. call .. ';' .. rid .. ';1')
  local args = ''
  if p[7] ~= have then args = redis.call('HGET', k_args(g.no, math.floor(tonumber(p[7]) / BUCKET)), p[7]) or '' end
  local answer = {'range', rid, p[1], p[2], p[3], crash_count(p[4], now), p[7], map, args, g.q, g.qa, g.dl or '0', g.mr or ''}
  if redis.call('EXISTS', k_flags(gid)) == 1 then
    for i = tonumber(p[1]), tonumber(p[2]) - 1 do
      local c = redis.call('HGET', k_flags(gid), S(i))
      if c then
        answer[#answer + 1] = S(i)
        answer[#answer + 1] = c
      end
    end
  end
  return answer
end
