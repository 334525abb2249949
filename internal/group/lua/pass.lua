-- pass puts a ticket to the tail of its queue, as its next number. Who says how many others wait there, in ARGV 5 and 6, keeps it where all
-- of them are tickets of the same group, or workers that these are for.
-- KEYS  1 the shard's prefix; touches r:<group> y:<group> open h:<worker>
-- ARGV  group place number worker deliveries ('': pass it in any case) workers
-- ANSWER {ok, 0, group, nonce, place, number, queue} enqueue this · {ok, 0} nothing is unclaimed: the ticket is closed · {kept} · {fenced} · {gone}
local gid, place = ARGV[1], ARGV[2]
local gk = k_record(gid)
local g = group_read(gid)
if not g.n or g.bs then return {'gone'} end
local field = redis.call('HGET', gk, 't' .. place)
local t = field and split(field, ';')
if not t or t[1] ~= ARGV[3] or t[2] ~= ARGV[4] then return {'fenced'} end
if ARGV[5] ~= '' and not exhausted(gid) then
  local queued = 0
  for k = 0, num(redis.call('HGET', gk, 'T')) - 1 do
    local f = redis.call('HGET', gk, 't' .. S(k))
    if f and split(f, ';')[2] == '' then queued = queued + 1 end
  end
  if num(ARGV[5]) <= queued and num(ARGV[6]) <= queued then return {'kept'} end
end
local back = ticket_back(gid, g, place, ARGV[4], now_ms())
if not back then return {'ok', 0} end
return {'ok', 0, back[1], back[2], back[3], back[4], back[5]}
