-- A task's record: read it, end it.
local TASK_FIELDS = {'s', 'n', 'h', 'q', 'rt', 'dg', 'mp', 'k', 'qa', 'sa', 'at', 'w', 'l', 'g', 'gi', 'dl', 'c', 'mk', 'cn', 'ty', 'pt'}

local FINAL = {succeeded = true, failed = true, cancelled = true, timed_out = true, crash_loop = true, lost = true, expired = true}

local function task_read(id)
  local v = redis.call('HMGET', k_record(id), unpack(TASK_FIELDS))
  if not v[8] then return nil end
  local t = {}
  for i, name in ipairs(TASK_FIELDS) do t[name] = v[i] or nil end
  return t
end

-- hand_over makes the task wait for a delivery under a new number. The answer goes to who enqueues: id, number, queue, and how: 1 for a
-- suspect, which shares its delivery with none (a crash that does not count any more errs on that side), + 2 for the head of the queue: it
-- holds a permit, which others wait for.
local function hand_over(id, t, now)
  local n = redis.call('HINCRBY', k_record(id), 'n', 1)
  redis.call('HSET', k_record(id), 's', 'pending')
  redis.call('HDEL', k_record(id), 'h', 'nc', 'mk')
  look(id, now + HANDOVER)
  local died = redis.call('HGET', k_record(id), 'cr')
  return {id, n, t.q, (died and string.find(died, ',', 1, true) and 1 or 0) + (t.pt == '1' and 2 or 0)}
end

-- release takes the permit from a member that travels alone and does not run any more.
local function release(id, t, now)
  if t.pt ~= '1' then return end
  t.pt = '0'
  redis.call('HSET', k_record(id), 'pt', '0')
  free(t.g, 1, now)
end

-- let_go takes a task off the open work, and off its holder's hands.
local function let_go(id, t)
  redis.call('ZREM', OPEN, id)
  if t.h then redis.call('SREM', k_holdings(t.h), id) end
end

-- finish_task ends a task that is no member. attempt is 1 + charged failures before. Returns 1 when the outbox has news.
local function finish_task(id, t, state, value, err, attempt, worker, now)
  local key = k_record(id)
  let_go(id, t)
  -- few fields: Redis looks through a small hash from its start, for each field
  redis.call('HDEL', key, 'h', 'nc', 'mk', 'w', 'l', state == 'succeeded' and 'a' or 'l')
  redis.call('HSET', key, 's', state, 'fa', S(now), 'wk', worker, err == '' and 'v' or 'e', err == '' and value or err)
  if attempt > 1 then redis.call('HSET', key, 'at', S(attempt - 1)) end
  redis.call('PEXPIRE', key, t.rt)
  redis.call('SET', k_tomb(id), pack(t.dg or '', t.n or '0', state, 't'), 'PX', S(2 * num(t.rt)))
  if t.w and t.w ~= '' then
    local message
    if #value + #err <= SMALL then
      message = pack('t', id, state, value, err, S(attempt), t.n or '0', worker, t.ty or '', t.qa or '', t.sa or '', S(now))
    else
      message = pack('t', id)
    end
    for inbox in string.gmatch(t.w, '([^,;]*),[^;]*') do say(inbox, message) end -- all have waited for this
  end
  if t.l then
    to_outbox('t', id, t.n or '0', now, state, value, err, t.l)
    return 1
  end
  return 0
end

-- finish ends a task, also a member that travels alone, whose outcome stands in its group; everything that ends one comes here or to
-- finish_task.
local function finish(id, t, state, value, err, attempt, worker, now)
  if not t.g then return finish_task(id, t, state, value, err, attempt, worker, now) end
  local gid, i = t.g, tonumber(t.gi)
  let_go(id, t)
  redis.call('DEL', k_record(id))
  redis.call('HDEL', k_ranges(gid), 'a' .. t.gi)
  if t.pt == '1' then free(gid, 1, now) end
  local g = group_read(gid)
  if map_get(gid, i, 1) ~= ALONE then return 0 end
  local kind = err == '' and 'v' or 'e'
  local blob = range_head(worker, now, t.qa) ..
    entry(i, state, kind, attempt, num(t.n), t.sa and math.min(0, num(t.sa) - now) or 1, value, err)
  local fail = FAILURES[state] and {i, state, err} or nil
  return record_members(gid, g, {{i, 1}}, {[state] = 1}, blob, fail, now)
end

local function failure(kind, message)
  -- messages made here are plain ASCII without quotes; users' texts come encoded from Go
  return '{"k":"' .. kind .. '","m":"' .. message .. '"}'
end

-- overdue ends a task that did not start in time, or whose deadline passed while nothing ran it; nil when it is not overdue.
local function overdue(id, t, now)
  if t.h or FINAL[t.s] then return nil end
  local late
  if t.dl and num(t.dl) > 0 and now >= num(t.dl) then
    late = 'the deadline has passed'
  elseif not t.sa and num(t.mp) > 0 and now >= num(t.mp) then
    late = 'not started within max-pending'
  end
  if not late then return nil end
  return finish(id, t, 'timed_out', '', failure('deadline', late), num(t.at) + 1, '', now)
end

-- rest is when a task that waits for its delivery is looked at if nothing happens.
local function rest(t)
  local at = FAR
  if num(t.dl) > 0 then at = math.min(at, num(t.dl)) end
  if not t.sa and num(t.mp) > 0 then at = math.min(at, num(t.mp)) end
  return at
end
