-- A group may have a bound on how many of its members run at once (mr, jobs.MaxRunning). Its record then counts permits in pm: one for each
-- member of an open range, and for each that travels alone and holds one (pt of its record: 0 none, w it waits for one, 1 it holds one,
-- from when it is issued again until it has ended, failed or gone back). Members from elsewhere are not the group's to run and take none.
--
-- Who finds no permit waits in the record: members that travel alone in the line p:<group>, in the order in which they came, tickets parked.
-- Whatever gives permits back issues who waits again in the same script, so there are never both a permit and somebody who waits for it in vain.
local issued = {}              -- hand-overs for who enqueues, as scripts list them
local room = {pulling = false} -- the caller is about to pull: permits need no other ticket before it has
local ISSUE_MOST = 100         -- of the line at a call

-- make_room lets those go on for whom there are permits: the line first, each with its permit, then one ticket. Whoever pulls with it calls
-- this again, for the permits that are left then.
make_room = function(gid, now)
  local gk = k_record(gid)
  local f = redis.call('HMGET', gk, 'mr', 'pm', 'pk', 'c')
  if f[4] then return end -- who was asked to end does not start any more
  local left, looked = num(f[1]) - num(f[2]), 0
  while left > 0 do
    if looked == ISSUE_MOST then return look(gid, now) end
    local index = redis.call('LPOP', k_line(gid))
    if not index then break end
    looked = looked + 1
    local id = gid .. ':' .. index
    local t = task_read(id)
    if t and t.pt == 'w' then -- else it has ended
      left = left - 1
      t.pt = '1'
      redis.call('HSET', k_record(id), 'pt', '1')
      redis.call('HINCRBY', gk, 'pm', 1)
      local h = hand_over(id, t, now)
      issued[#issued + 1] = {'task', h[1], h[2], h[3], h[4]}
    end
  end
  local place, rest = string.match(f[3] or '', '^(%d+),?(.*)$')
  if left > 0 and place and not room.pulling and not exhausted(gid) then
    redis.call('HSET', gk, 'pk', rest)
    local t = ticket_again(gid, place, now)
    issued[#issued + 1] = {'ticket', t[1], t[2], t[3], t[4], t[5]}
  end
end

-- with_issued puts what has been issued behind an answer.
local function with_issued(answer)
  for i = 1, #issued do answer[#answer + 1] = issued[i] end
  issued = {}
  return answer
end
