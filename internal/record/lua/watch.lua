-- watch registers interest in ends and looks whether they are there, in one step for each ID.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id> m:<group>; what settle touches for what is overdue
-- ARGV  inbox ('' only looks), then {id, view, after}…: view t a task, m a group's member (after is its index),
--       o b p a group's outcome, barrier, progress beyond after
-- ANSWER {outbox 0|1, {place, answer}…} with the places from 0; of what only waits, and is registered, there is none. An answer is
--        {unknown} {expired} {later: ask for it again, the answers are large enough} {waiting, state, done, members, overdue 0|1}
--        {task, state, value, failure, attempt, number, worker, type, queued, started, finished}
--        {member, settled range} {group, state, failure, index, done, members, barrier 0|1, outcome's state}
local inbox, now, outbox = ARGV[1], now_ms(), 0
local room = 1048576 -- bytes of values that still go into the answers; one goes in any case
local function wait_on(key, w, view, after)
  if inbox == '' then return end
  local renewed = register(w, inbox, view, after, now)
  if renewed then redis.call('HSET', key, 'w', renewed) end
end
local function task(id)
  if room <= 0 then return {'later'} end
  local key = k_record(id)
  local t = redis.call('HMGET', key, 's', 'n', 'k', 'ty', 'qa', 'mp', 'sa', 'h', 'w', 'at', 'dl', 'c')
  if not t[3] then
    if redis.call('EXISTS', k_tomb(id)) == 1 then return {'expired'} end
    return {'unknown'}
  end
  if t[3] ~= 't' then return {'unknown'} end
  if not FINAL[t[1]] then
    local late = t[11] and now >= num(t[11]) or not t[7] and now >= num(t[6])
    local ended = late and not t[8] and overdue(id, task_read(id), now)
    if not ended then
      wait_on(key, t[9], 't', 0)
      if inbox ~= '' then return nil end
      local state = t[1]
      if state == 'running' and t[12] then state = 'cancelling' end
      return {'waiting', state, 0, 0, 0, t[10] or '0', t[2], t[8] or '', t[4] or '', t[5] or '', t[7] or ''}
    end
    outbox = math.max(outbox, ended)
  end
  local f = redis.call('HMGET', key, 's', 'v', 'e', 'at', 'n', 'wk', 'ty', 'qa', 'sa', 'fa')
  room = room - #(f[2] or '') - #(f[3] or '')
  return {'task', f[1], f[2] or '', f[3] or '', num(f[4]) + 1, num(f[5]), f[6] or '', f[7] or '', f[8] or '', f[9] or '', f[10] or ''}
end
local function group(id, view, after)
  if room <= 0 then return {'later'} end
  local key = k_record(id)
  local f = redis.call('HMGET', key, 'k', 's', 'oc', 'oe', 'oi', 'dn', 'n', 'bs', 'c', 'w', 'dl', 'mp', 'bd', 'sa', 'cs', 'sn')
  if not f[1] then
    if redis.call('EXISTS', k_tomb(id)) == 1 then return {'expired'} end
    return {'unknown'}
  end
  if f[1] ~= 'g' then return {'unknown'} end
  local done, n = num(f[6]), num(f[7])
  local over = not f[8] and ((num(f[11]) > 0 and now >= num(f[11])) or (not f[14] and num(f[12]) > 0 and now >= num(f[12]))
    or (f[9] and not f[13] and (num(f[15]) < num(f[16]) or redis.call('LLEN', k_returned(id)) > 0))) and 1 or 0
  if view == 'm' then
    if after >= n then return {'unknown'} end
    local four = map_get(id, after, 1)
    local alone = four == ALONE and task_read(id .. ':' .. S(after))
    if alone then
      outbox = math.max(outbox, overdue(id .. ':' .. S(after), alone, now) or 0)
      four = map_get(id, after, 1)
    end
    if four ~= OPEN4 and four ~= ALONE and four ~= LINKED then
      local a, b, c, d = string.byte(four, 1, 4)
      local seq = a * 16777216 + b * 65536 + c * 256 + d
      local blob = redis.call('HGET', k_results(id, math.floor((seq - 1) / BUCKET)), S(seq))
      if not blob then return {'expired'} end
      room = room - #blob
      return {'member', blob}
    end
    if inbox ~= '' then
      local readers = redis.call('HGET', k_readers(id), S(after)) or ''
      if not string.find(';' .. readers, ';' .. inbox .. ';', 1, true) then
        redis.call('HSET', k_readers(id), S(after), readers .. inbox .. ';')
        redis.call('HSET', key, 'mw', '1')
      end
    end
    if inbox ~= '' and over == 0 then return nil end
    local state = f[2] == 'scheduled' and 'scheduled' or 'pending'
    if four == ALONE then
      local r = redis.call('HMGET', k_record(id .. ':' .. S(after)), 's', 'c')
      state = r[1] or state
      if state == 'running' and r[2] then state = 'cancelling' end
    end
    return {'waiting', state, done, n, over, four == LINKED and 'linked' or ''}
  end
  if view == 'o' and f[3] or f[8] or view == 'p' and done > after then
    return {'group', f[2], f[4] or '', f[5] and num(f[5]) or -1, done, n, f[8] and 1 or 0, f[9] and 1 or 0, f[3] or '', f[9] or ''}
  end
  wait_on(key, f[10], view, after)
  if inbox ~= '' and over == 0 then return nil end
  return {'waiting', f[2], done, n, over}
end
local answer = {0}
for i = 2, #ARGV, 3 do
  local a
  if ARGV[i + 1] == 't' then a = task(ARGV[i]) else a = group(ARGV[i], ARGV[i + 1], num(ARGV[i + 2])) end
  if a then
    answer[#answer + 1] = (i - 2) / 3
    answer[#answer + 1] = a
  end
end
answer[1] = outbox
return answer
