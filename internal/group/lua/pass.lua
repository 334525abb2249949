-- pass puts a ticket to the tail of its queue, as its next number. Who gives the counts of others that wait there, in ARGV 5 and 6, passes
-- it only behind deliveries that are not all of this group, and keeps it where workers wait: those get further tickets, in places whose
-- ticket is closed, as long as there are such.
-- KEYS  1 the shard's prefix; touches r:<group> y:<group> open h:<worker>
-- ARGV  group place number worker deliveries ('': pass it in any case) workers
-- ANSWER {0, ok, 0, group, nonce, place, number, queue} enqueue this · {0, ok, 0} nothing is unclaimed: the ticket is closed ·
--        {1, ok, 0, then of each further ticket: {ticket, group, nonce, place, number, queue}} it is kept, enqueue these · {0, fenced} · {0, gone}
local gid, place, deliveries, workers = ARGV[1], ARGV[2], tonumber(ARGV[5]), num(ARGV[6])
local gk, now = k_record(gid), now_ms()
local g = group_read(gid)
if not g.n or g.bs then return {0, 'gone'} end
local field = redis.call('HGET', gk, 't' .. place)
local t = field and split(field, ';')
if not t or t[1] ~= ARGV[3] or t[2] ~= ARGV[4] then return {0, 'fenced'} end
if deliveries and not exhausted(gid) then
  local queued, closed = 0, {} -- tickets that nobody holds, places without one
  for k = 0, num(redis.call('HGET', gk, 'T')) - 1 do
    local f = redis.call('HGET', gk, 't' .. S(k))
    if not f then
      closed[#closed + 1] = S(k)
    elseif split(f, ';')[2] == '' then
      queued = queued + 1
    end
  end
  local more = workers - queued
  if deliveries <= queued and (more <= 0 or #closed > 0) then
    local out = {1, 'ok', 0}
    for k = 1, math.min(more, #closed) do
      local t = ticket_again(gid, closed[k], now)
      table.insert(t, 1, 'ticket')
      out[#out + 1] = t
    end
    if #out > 3 then redis.call('HINCRBY', gk, 'lt', #out - 3) end
    return out
  end
end
local back = ticket_back(gid, g, place, ARGV[4], now)
if not back then return {0, 'ok', 0} end
return {0, 'ok', 0, back[1], back[2], back[3], back[4], back[5]}
