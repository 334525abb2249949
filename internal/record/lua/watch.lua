-- watch registers interest in ends and looks whether they are there, in one step for each ID.
-- KEYS  1 the shard's prefix; touches r:<id> z:<id> m:<group>; what settle touches for what is overdue
-- ARGV  inbox ('' only looks), then {id, view, after}…: view t a task, m a group's member (after is its index),
--       o b p a group's outcome, barrier, progress beyond after
-- ANSWER {outbox 0|1, answer…}; an answer is {unknown} {expired} {waiting, state, done, members, overdue 0|1}
--        {task, state, value, failure, attempt, number, worker, type, queued, started, finished}
--        {member, settled range} {group, state, failure, index, done, members, barrier 0|1, outcome's state}
local inbox, now, outbox, answers = ARGV[1], now_ms(), 0, {}
local function wait_on(key, w, view, after)
  if inbox == '' then return end
  local renewed = register(w, inbox, view, after, now)
  if renewed then redis.call('HSET', key, 'w', renewed) end
end
local function task(id)
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
      local state = t[1]
      if state == 'running' and t[12] then state = 'cancelling' end
      return {'waiting', state, 0, 0, 0, t[10] or '0', t[2], t[8] or '', t[4] or '', t[5] or '', t[7] or ''}
    end
    outbox = math.max(outbox, ended)
  end
  local f = redis.call('HMGET', key, 's', 'v', 'e', 'at', 'n', 'wk', 'ty', 'qa', 'sa', 'fa')
  return {'task', f[1], f[2] or '', f[3] or '', num(f[4]) + 1, num(f[5]), f[6] or '', f[7] or '', f[8] or '', f[9] or '', f[10] or ''}
end
local function group(id, view, after)
  local key = k_record(id)
  local f = redis.call('HMGET', key, 'k', 's', 'oc', 'oe', 'oi', 'dn', 'n', 'bs', 'c', 'w', 'dl', 'mp', 'bd', 'sa', 'cs', 'sn')
  if not f[1] then
    if redis.call('EXISTS', k_tomb(id)) == 1 then return {'expired'} end
    return {'unknown'}
  end
  if f[1] ~= 'g' then return {'unknown'} end
  local done, n = num(f[6]), num(f[7])
  local over = not f[8] and not f[13] and ((num(f[11]) > 0 and now >= num(f[11])) or (not f[14] and num(f[12]) > 0 and now >= num(f[12]))
    or (f[9] and (num(f[15]) < num(f[16]) or redis.call('LLEN', k_returned(id)) > 0))) and 1 or 0
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
      return {'member', blob}
    end
    if inbox ~= '' then
      local readers = redis.call('HGET', k_readers(id), S(after)) or ''
      if not string.find(';' .. readers, ';' .. inbox .. ';', 1, true) then
        redis.call('HSET', k_readers(id), S(after), readers .. inbox .. ';')
        redis.call('HSET', key, 'mw', '1')
      end
    end
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
  return {'waiting', f[2], done, n, over}
end
for i = 2, #ARGV, 3 do
  if ARGV[i + 1] == 't' then
    answers[#answers + 1] = task(ARGV[i])
  else
    answers[#answers + 1] = group(ARGV[i], ARGV[i + 1], num(ARGV[i + 2]))
  end
end
local answer = {outbox}
for _, a in ipairs(answers) do answer[#answer + 1] = a end
return answer
