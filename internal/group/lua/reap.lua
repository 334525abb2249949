-- reap takes from a worker what it holds and will not finish, and makes it wait for another delivery under the next number. It is
-- for a dead worker, a part at a call, and for what a living one does not know that it holds.
-- KEYS  1 the shard's prefix; touches h:<worker> u:<worker> open outbox, the records found there; of members what range touches
-- ARGV  worker, beat (of its death), charged (1: a crash for what had started), limit, then item… (these alone)
-- ANSWER {revived} it has beaten again since that beat
--        {ok, how many it still holds, 0|1 outbox, tasks and tickets delivered again, members put back included, crash loops ended,
--        {task, id, number, queue, how | ticket, group, nonce, place, number, queue}…} enqueue these, hand-overs of those that it made room for included
local worker, beat, charged, limit = ARGV[1], ARGV[2], ARGV[3] == '1', num(ARGV[4])
local holdings, now = k_holdings(worker), now_ms()
local revived = redis.call('GET', k_revived(worker))
if revived and tonumber(revived) >= tonumber(beat) then return {'revived'} end
local token = worker .. '@' .. beat .. '@' .. S(math.floor(now / 1000))
local outbox, again, loops, done, acts = 0, 0, 0, 0, {}

local function enqueue(act)
  again = again + 1
  acts[#acts + 1] = act
end

local function task(id)
  redis.call('SREM', holdings, id)
  local t = task_read(id)
  if not t or FINAL[t.s] or t.h ~= worker then return end
  local f = redis.call('HMGET', k_record(id), 'cr', 'bg', 'op')
  local died = crashes(f[1], now)
  local suspect = #died >= SUSPECT
  local crashed = charged and (not suspect or f[2] == t.n) -- a suspect that waits for its turn has not started
  if crashed then
    died[#died + 1] = token
    redis.call('HSET', k_record(id), 'cr', table.concat(died, ','))
  end
  local most = num(string.match(f[3] or '', '"mc":(%d+)'))
  if most == 0 then most = MAX_CRASHES end
  local state, err
  if t.c then
    state, err = 'cancelled', t.c
  elseif num(t.dl) > 0 and now >= num(t.dl) then
    state, err = 'timed_out', failure('deadline', 'the deadline has passed')
  elseif crashed and suspect and #died >= most then
    state, err = 'crash_loop', failure('crash_loop', 'its worker died ' .. S(#died) .. ' times while it ran')
    loops = loops + 1
  end
  if state then
    outbox = math.max(outbox, finish(id, t, state, '', err, num(t.at) + 1, worker, now))
    return
  end
  local h = hand_over(id, t, now)
  enqueue({'task', h[1], h[2], h[3], h[4]})
end

local function range(gid, rid)
  local g = group_read(gid)
  local x = redis.call('HGET', k_ranges(gid), rid)
  local p = x and split(x, ';')
  if not g.n or g.bs or not p or p[5] ~= worker then return redis.call('SREM', holdings, 'x|' .. gid .. '|' .. rid) end
  local died = crashes(p[4], now)
  if charged and #died < SUSPECT then died[#died + 1] = token end -- else they leave it before they start
  p[4] = table.concat(died, ',')
  done = done + num(p[8]) / 8
  if not stopped(g, now) then again = again + num(p[8]) end
  local told, t = range_back(gid, g, rid, p, nil, now)
  outbox = math.max(outbox, told)
  if t then enqueue({'ticket', t[1], t[2], t[3], t[4], t[5]}) end
end

local function ticket(gid, place)
  local g = group_read(gid)
  local field = redis.call('HGET', k_record(gid), 't' .. place)
  local t = field and split(field, ';')
  if not g.n or g.bs or not t or t[2] ~= worker then return redis.call('SREM', holdings, 't|' .. gid .. '|' .. place) end
  t = ticket_back(gid, g, place, worker, now)
  if t then enqueue({'ticket', t[1], t[2], t[3], t[4], t[5]}) end
end

local items = {unpack(ARGV, 5)}
if #items == 0 then items = redis.call('SRANDMEMBER', holdings, limit) end
table.sort(items, function(a, b) return a > b end) -- ranges before tickets: else these find nothing unclaimed, and close
for _, item in ipairs(items) do
  local kind, gid, n = string.match(item, '^([xt])|(.+)|(%d+)$')
  if kind == 'x' then
    range(gid, n)
  elseif kind == 't' then
    ticket(gid, n)
  else
    task(item)
  end
  done = done + 1
  if done >= limit then break end
end
local answer = {'ok', redis.call('SCARD', holdings), outbox, again, loops}
for _, a in ipairs(acts) do answer[#answer + 1] = a end
return with_issued(answer)
