-- take_range takes the next members that nobody has claimed: first what was handed back, then from the cursor.
-- An open range is a field of x:<group>, its ID: "from;to;number;crashes;holder;nonce;segment;left;except".
-- Answers nil when nothing is unclaimed, else from, to, number, crashes, segment, left, the map of its members, except.
-- Where segments are gone, cs goes on and ci does not: what lies between it and the next one is taken as a range of one that is not there.
local function open_members(gid, from, to, except)
  local map = map_get(gid, from, to - from)
  if except == '' and map == string.rep(OPEN4, to - from) then return map, to - from end
  for _, r in ipairs(parse_runs(except)) do
    local first, after = math.max(r[1], from), math.min(r[1] + r[2], to) -- a part of the range may have been taken
    if first < after then map = string.sub(map, 1, (first - from) * 4) .. string.rep(ALONE, after - first) .. string.sub(map, (after - from) * 4 + 1) end
  end
  local left = 0
  for i = 1, #map, 4 do
    if string.sub(map, i, i + 3) == OPEN4 then left = left + 1 end
  end
  return map, left
end

local function take_range(gid, want)
  local gk = k_record(gid)
  while true do
    local y = redis.call('LPOP', k_returned(gid))
    if not y then break end
    local p = split(y, ';')
    local from, to = tonumber(p[1]), tonumber(p[2])
    if to - from > want then
      redis.call('LPUSH', k_returned(gid), S(from + want) .. ';' .. S(to) .. ';' .. p[3] .. ';' .. p[4] .. ';' .. p[5] .. ';' .. p[6])
      to = from + want
    end
    local map, left = open_members(gid, from, to, p[6])
    if left > 0 then return from, to, tonumber(p[3]), p[4], tonumber(p[5]), left, map, p[6] end
  end
  local f = redis.call('HMGET', gk, 'cs', 'ci', 'sn', 'no', 'n')
  local cs, ci, sn = tonumber(f[1]), tonumber(f[2]), tonumber(f[3])
  for _ = 1, 50 do -- segments; where all of them have ended the caller asks again
    if cs >= sn then break end
    local args = redis.call('HGET', k_args(f[4], math.floor(cs / BUCKET)), S(cs))
    local from, seg, last, after = ci, cs, nil, nil -- after: where the segment ends
    if args then
      local start, count = string.match(args, '^1;(%d+);(%d+)\n')
      after = start + count
      last = after
      if ci < tonumber(start) then seg, last = cs - 1, math.min(tonumber(start), ci + BUCKET) end
    else
      after = cs + 1 == sn and tonumber(f[5]) or ci
      last = math.min(after, ci + BUCKET)
    end
    local rest = open_members(gid, from, last, '')
    while from < last and string.sub(rest, 1, 4) ~= OPEN4 do
      from, rest = from + 1, string.sub(rest, 5)
    end
    local to = math.min(from + want, last)
    ci = to
    if to == after then cs = cs + 1 end
    if from < to then
      redis.call('HSET', gk, 'cs', S(cs), 'ci', S(ci))
      local map, left = open_members(gid, from, to, '')
      return from, to, 1, '', seg, left, map, ''
    end
  end
  redis.call('HSET', gk, 'cs', S(cs), 'ci', S(ci))
  return nil
end

-- close_ticket removes a ticket that found nothing left.
local function close_ticket(gid, place)
  redis.call('HDEL', k_record(gid), 't' .. place)
  redis.call('HINCRBY', k_record(gid), 'lt', -1)
  redis.call('ZREM', OPEN, '#' .. place .. ':' .. gid)
end

-- shrink counts members out of an open range and closes it with the last. Their permits are free then.
local function shrink(gid, g, rid, p, by, now)
  local left = tonumber(p[8]) - by
  if left <= 0 then
    redis.call('HDEL', k_ranges(gid), rid)
    redis.call('SREM', k_holdings(p[5]), 'x|' .. gid .. '|' .. rid)
  else
    p[8] = S(left)
    redis.call('HSET', k_ranges(gid), rid, table.concat(p, ';'))
  end
  if g.mr then free(gid, by, now) end
end

-- held returns the parts of an open range if it is this worker's under this number.
local function held(gid, rid, number, worker)
  local x = redis.call('HGET', k_ranges(gid), rid)
  local p = x and split(x, ';')
  if p and p[3] == number and p[5] == worker then return p end
  return nil
end

-- a group past its time, or whose end was requested, runs nothing more
local function stopped(g, now)
  if g.c then return 'cancelled', g.c end
  if num(g.dl) > 0 and now >= num(g.dl) then return 'timed_out', failure('deadline', 'the deadline has passed') end
  return nil
end
