-- sweep ends members that nobody has claimed, of a group that was cancelled or is past its time; a part at a call.
-- KEYS  1 the shard's prefix; touches r:<group> x:<group> y:<group> v:<group>:<bucket> i:<group>:<chunk> z:<group> m:<group> outbox open
-- ARGV  group limit
-- ANSWER {more 0|1, 0|1 outbox, failure of the cancel, state, {alone, index, ''} {link, index, view;id}…}: members that the caller must tell
local gid, limit = ARGV[1], num(ARGV[2])
local g, now = group_read(gid), now_ms()
if not g.n or g.bs then return {0, 0, '', ''} end
local state, err = stopped(g, now)
if not state and not g.sa and num(g.mp) > 0 and now >= num(g.mp) then
  state, err = 'timed_out', failure('deadline', 'not started within max-pending')
end
if not state then return {0, 0, '', ''} end
local outbox, entries, runs, n, first = 0, {}, {}, 0, nil
while n < limit do
  local from, to, number, _, _, left, map = take_range(gid, limit - n)
  if not from then break end
  for i = from, to - 1 do
    if string.sub(map, (i - from) * 4 + 1, (i - from) * 4 + 4) == OPEN4 then
      entries[#entries + 1] = entry(i, state, 'e', 1, number - 1, 1, '', err)
      local last = runs[#runs]
      if last and last[1] + last[2] == i then last[2] = last[2] + 1 else runs[#runs + 1] = {i, 1} end
      first = first or i
    end
  end
  n = n + left
end
if n > 0 then
  outbox = record_members(gid, g, runs, {[state] = n}, range_head('', now, g.qa) .. table.concat(entries), {first, state, err}, now)
end
local answer = {0, outbox, g.c or '', state}
if redis.call('EXISTS', k_record(gid)) == 1 and not redis.call('HGET', k_record(gid), 'bs') then
  if not exhausted(gid) then answer[1] = 1 end
  if answer[1] == 0 then
    if g.bd then redis.call('HDEL', k_record(gid), 'bd') end -- nothing is left to bind
    local x = redis.call('HGETALL', k_ranges(gid))
    for i = 1, #x, 2 do
      local kind, rest = string.sub(x[i], 1, 1), string.sub(x[i], 2)
      if kind == 'a' then
        answer[#answer + 1] = {'alone', rest, ''}
      elseif kind == 'l' then
        answer[#answer + 1] = {'link', rest, x[i + 1]}
      elseif g.c then
        local p = split(x[i + 1], ';')
        redis.call('PUBLISH', c_inbox(p[5]), pack('c', 'x|' .. gid .. '|' .. x[i], p[3], g.c))
      end
    end
    -- Who asked has to tell those; should it die over that, somebody asks again. Telling twice does no harm.
    redis.call('ZADD', OPEN, S(#answer > 4 and now + HANDOVER or FAR), gid)
  end
end
return answer
