-- The members of a group: the map, the settled ranges, the two events.
--
-- The map has four bytes for each member, big-endian: 0 not ended, ALONE it has a record of its own, LINKED it is a task or
-- group from elsewhere, else 1 + the number of the settled range that holds its outcome.
local ALONE, LINKED = '\255\255\255\255', '\255\255\255\254'
local OPEN4 = '\0\0\0\0'
local CHUNK = 65536  -- members of one chunk of the map
local BUCKET = 1000  -- settled ranges, or segments of arguments, of one hash

local function be32(n)
  return string.char(math.floor(n / 16777216) % 256, math.floor(n / 65536) % 256, math.floor(n / 256) % 256, n % 256)
end

-- each_chunk calls f(key, offset in bytes, members) for the parts of [from, from+count).
local function each_chunk(gid, from, count, f)
  while count > 0 do
    local c = math.floor(from / CHUNK)
    local at = from - c * CHUNK
    local n = math.min(count, CHUNK - at)
    f(k_map(gid, c), at * 4, n)
    from, count = from + n, count - n
  end
end

local function map_get(gid, from, count)
  local out = {}
  each_chunk(gid, from, count, function(key, off, n)
    local s = redis.call('GETRANGE', key, off, off + n * 4 - 1)
    out[#out + 1] = s .. string.rep('\0', n * 4 - #s)
  end)
  return table.concat(out)
end

local function map_set(gid, from, count, four)
  each_chunk(gid, from, count, function(key, off, n)
    redis.call('SETRANGE', key, off, string.rep(four, n))
  end)
end

-- runs are "from,count,from,count…".
local function parse_runs(s)
  local out, parts = {}, split(s, ',')
  for i = 1, #parts - 1, 2 do out[#out + 1] = {tonumber(parts[i]), tonumber(parts[i + 1])} end
  return out
end

-- keep_for starts the time to live of all that belongs to an ended group.
local function keep_for(gid, g, failed)
  local gk, rt = k_record(gid), num(g.rt)
  local function each(key) redis.call('PEXPIRE', key, S(rt)) end
  for b = 0, math.floor((num(redis.call('HGET', gk, 'sq')) - 1) / BUCKET) do each(k_results(gid, b)) end
  for c = 0, math.floor((num(g.n) - 1) / CHUNK) do each(k_map(gid, c)) end
  for b = 0, math.floor((num(g.sn) - 1) / BUCKET) do
    if failed then each(k_args(g.no, b)) else redis.call('UNLINK', k_args(g.no, b)) end
  end
  redis.call('UNLINK', k_ranges(gid), k_returned(gid), k_line(gid), k_flags(gid), k_readers(gid))
  each(gk)
end

local GROUP_FIELDS = {'rt', 'n', 'sn', 'no', 'w', 'oc', 'dn', 'dg', 'c', 'mw', 'lo', 'lb', 'bd', 'bs', 'q', 'qa', 'dl', 'mp', 'sa', 'mr'}

local function group_read(gid)
  local v = redis.call('HMGET', k_record(gid), unpack(GROUP_FIELDS))
  local g = {}
  for i, name in ipairs(GROUP_FIELDS) do g[name] = v[i] or nil end
  return g
end

-- bound_by is when somebody else looks at a group whose binding has not ended: at its deadline at the latest.
local function bound_by(gid, deadline, at)
  redis.call('ZADD', OPEN, S(num(deadline) > 0 and math.min(num(deadline), at) or at), gid)
end

-- free gives permits back (room.lua). Scripts whose caller enqueues have make_room; for the others whoever looks at open work makes room.
local make_room
local function free(gid, n, now)
  redis.call('HINCRBY', k_record(gid), 'pm', -n)
  if make_room then make_room(gid, now) else look(gid, now) end
end

-- to_outbox notes an end that other records wait for; the field makes it idempotent, run tells it from the end of another run of that ID.
local function to_outbox(kind, id, run, now, state, value, err, links)
  redis.call('HSET', OUTBOX, kind .. '|' .. id .. '|' .. run, pack(S(now), kind, id, state, value, err, links))
end

-- close_barrier ends a group whose members have all ended.
local function close_barrier(gid, g, now)
  local gk = k_record(gid)
  local failed = false
  for _, s in ipairs({'failed', 'cancelled', 'timed_out', 'crash_loop', 'lost', 'expired'}) do
    if num(redis.call('HGET', gk, 'n:' .. s)) > 0 then failed = true end
  end
  local first = not g.oc
  if first then
    g.oc = g.c and 'cancelled' or 'succeeded'
    redis.call('HSET', gk, 'oc', g.oc, 's', g.oc, 'fa', S(now))
    if g.c then redis.call('HSET', gk, 'oe', g.c) end
  end
  redis.call('HSET', gk, 'bs', S(now))
  local gone = {gid}
  for k = 0, num(redis.call('HGET', gk, 'T')) - 1 do
    gone[#gone + 1] = '#' .. k .. ':' .. gid
    local t = redis.call('HGET', gk, 't' .. k)
    local holder = t and split(t, ';')[2] or ''
    if holder ~= '' then redis.call('SREM', k_holdings(holder), 't|' .. gid .. '|' .. k) end
    redis.call('HDEL', gk, 't' .. k)
  end
  redis.call('ZREM', OPEN, unpack(gone))
  redis.call('SET', k_tomb(gid), pack(g.dg or '', '0', g.oc, 'g'), 'PX', S(2 * num(g.rt)))
  keep_for(gid, g, failed)
  return first
end

-- tell publishes what a settle did to a group, and hands its links to the outbox. Returns 1 when the outbox has news.
local function tell(gid, g, now, outcome, barrier)
  local gk, outbox = k_record(gid), 0
  if g.w and g.w ~= '' then
    local left = notify(g.w, function(view, after)
      return view == 'o' and outcome or view == 'b' and barrier or view == 'p' and (barrier or g.dn > after)
    end, function(view) return pack(view, gid, S(g.dn)) end)
    if left ~= g.w then redis.call('HSET', gk, 'w', left) end
  end
  if outcome and g.lo then
    to_outbox('o', gid, g.no, now, g.oc, gid, redis.call('HGET', gk, 'oe') or '', g.lo)
    redis.call('HDEL', gk, 'lo')
    outbox = 1
  end
  if barrier and g.lb then
    to_outbox('b', gid, g.no, now, g.c and 'cancelled' or 'succeeded', gid, g.c or '', g.lb)
    redis.call('HDEL', gk, 'lb')
    outbox = 1
  end
  return outbox
end

-- record_members writes the outcomes of members that are known to be open: the only way in which a member ends.
-- counts: {state = how many}; fail: nil or {index, state, err} of the first failure in blob. Returns 1 when the outbox has news.
local function record_members(gid, g, runs, counts, blob, fail, now)
  local gk = k_record(gid)
  local seq = redis.call('HINCRBY', gk, 'sq', 1)
  local before, n = num(g.dn), 0
  redis.call('HSET', k_results(gid, math.floor((seq - 1) / BUCKET)), S(seq), S(before) .. '\n' .. blob)
  local mark = be32(seq)
  for _, r in ipairs(runs) do
    map_set(gid, r[1], r[2], mark)
    n = n + r[2]
  end
  for state, c in pairs(counts) do redis.call('HINCRBY', gk, 'n:' .. state, c) end
  g.dn = redis.call('HINCRBY', gk, 'dn', n)
  local outbox = 0
  if g.mw then
    for _, r in ipairs(runs) do
      for i = r[1], r[1] + r[2] - 1 do
        local links = redis.call('HGET', k_readers(gid), 'L' .. S(i))
        if links then
          to_outbox('m', gid .. ':' .. S(i), g.no, now, '', '', '', links)
          redis.call('HDEL', k_readers(gid), 'L' .. S(i))
          outbox = 1
        end
        local readers = redis.call('HGET', k_readers(gid), S(i))
        if readers then
          for inbox in string.gmatch(readers, '[^;]+') do
            redis.call('PUBLISH', c_inbox(inbox), pack('t', gid .. ':' .. S(i)))
          end
          redis.call('HDEL', k_readers(gid), S(i))
        end
      end
    end
  end
  local outcome = false
  if fail and not g.oc then
    g.oc, outcome = fail[2], true
    redis.call('HSET', gk, 'oc', fail[2], 'oe', fail[3], 'oi', S(fail[1]), 's', fail[2], 'fa', S(now))
  end
  local barrier = g.dn >= num(g.n)
  if barrier then outcome = close_barrier(gid, g, now) or outcome end
  return math.max(outbox, tell(gid, g, now, outcome, barrier))
end
