-- due looks at the open work whose time has come: hands over what waits for a delivery, ends what is overdue, and names the
-- groups that need somebody. What it does not finish it moves, so that two callers never get the same thing.
-- KEYS  1 the shard's prefix; touches open, the records found there, outbox
-- ARGV  limit
-- ANSWER {next (ms from now, -1 none), outbox 0|1, how many hand-overs nobody had marked, {task, id, number, queue, how | ticket, group, nonce, place, number, queue | bind, group | sweep, group | broken, entry}…}
local BROKEN = 60000 -- ms until what cannot be read is looked at, and named, again
local now, outbox, late, acts = now_ms(), 0, 0, {}
local function take(id)
  local place, gid = string.match(id, '^#(%d+):(.*)$')
  if place then
    local gk = k_record(gid)
    local f = redis.call('HGET', gk, 't' .. place)
    if not f then
      redis.call('ZREM', OPEN, id)
    else
      local p = split(f, ';')
      if not p[5] then return false end
      if p[2] ~= '' or p[5] ~= '0' then
        redis.call('ZADD', OPEN, S(FAR), id)
      else
        acts[#acts + 1] = {'ticket', unpack(ticket_again(gid, place, now))}
        late = late + 1
      end
    end
  else
    local kind = redis.call('HGET', k_record(id), 'k')
    if kind == 'g' then
      local g = group_read(id)
      if not (g.n and g.q) then return false end
      if g.mr and not g.bs then make_room(id, now) end
      local late = num(g.dl) > 0 and now >= num(g.dl) or not g.sa and num(g.mp) > 0 and now >= num(g.mp)
      if g.bs then
        redis.call('ZREM', OPEN, id)
      elseif g.bd and not late then -- of a cancelled group, too: the cancel goes on to what its members stand for
        redis.call('HSET', k_record(id), 'bd', S(now + HANDOVER))
        bound_by(id, g.dl, now + HANDOVER)
        acts[#acts + 1] = {'bind', id}
      elseif late or g.c then
        redis.call('ZADD', OPEN, S(now + HANDOVER), id)
        acts[#acts + 1] = {'sweep', id}
      else
        for _, h in ipairs(start_tickets(id, now)) do acts[#acts + 1] = h end
      end
    elseif kind == 't' then
      local t = task_read(id)
      if not (t.s and t.q) then return false end
      if FINAL[t.s] then
        redis.call('ZREM', OPEN, id)
      elseif t.h then
        redis.call('ZADD', OPEN, S(FAR), id)
      else
        local ended = overdue(id, t, now)
        if ended then
          outbox = math.max(outbox, ended)
        elseif t.s == 'pending' and t.mk and t.mk ~= '0' then
          redis.call('ZADD', OPEN, S(rest(t)), id)
          release(id, t, now) -- it had long enough to come for its permit
        else
          if t.s == 'pending' and not t.mk then late = late + 1 end -- else its time has come
          local h = hand_over(id, t, now)
          acts[#acts + 1] = {'task', h[1], h[2], h[3], h[4]}
        end
      end
    else
      redis.call('ZREM', OPEN, id)
    end
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', OPEN, '-inf', S(now), 'LIMIT', 0, num(ARGV[1]))) do
  if not apart(take, id) then
    redis.call('ZADD', OPEN, S(now + BROKEN), id)
    acts[#acts + 1] = {'broken', id}
  end
end
local head = redis.call('ZRANGE', OPEN, 0, 0, 'WITHSCORES')
local next_in = -1
local at = head[2] and tonumber(head[2]) -- FAR is no number to the embedded Redis: it writes 9e+15, which its Lua does not read
if at and at < FAR then next_in = math.max(0, at - now) end
local answer = {next_in, outbox, late}
for _, a in ipairs(acts) do answer[#answer + 1] = a end
return with_issued(answer)
