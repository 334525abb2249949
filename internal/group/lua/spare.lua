-- spare closes a ticket that its worker has no use for: it holds another one of the group, which it pulls with for all its slots.
-- KEYS  1 the shard's prefix; touches r:<group> open h:<worker>
-- ARGV  group place number worker
-- ANSWER {1} closed · {0} it holds no other, or the ticket is another worker's, or has another number
local gid, place, worker = ARGV[1], ARGV[2], ARGV[4]
local gk = k_record(gid)
local field = redis.call('HGET', gk, 't' .. place)
local t = field and split(field, ';')
if not t or t[1] ~= ARGV[3] or (t[2] ~= '' and t[2] ~= worker) then return {0} end
for k = 0, num(redis.call('HGET', gk, 'T')) - 1 do
  local other = S(k) ~= place and redis.call('HGET', gk, 't' .. S(k))
  if other and split(other, ';')[2] == worker then
    redis.call('SREM', k_holdings(worker), 't|' .. gid .. '|' .. place)
    close_ticket(gid, place)
    return {1}
  end
end
return {0}
