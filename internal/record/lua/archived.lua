-- archived ends what waits for a message that somebody has archived by hand: a task at once, of a ticket its group as a cancel does.
-- KEYS  1 the shard's prefix; touches open and the records named; what settle touches
-- ARGV  failure, then as again has them
-- ANSWER {0|1 outbox, how many, group…}: sweep these
local now, outbox, n, answer = now_ms(), 0, 0, {0, 0}
for i = 2, #ARGV, 4 do
  local kind, id, place, message = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if kind == 'task' then
    local t = waits_for(id, message)
    if t then
      if not t.c then redis.call('HSET', k_record(id), 'c', ARGV[1], 'cq', S(now)) end
      outbox = math.max(outbox, finish(id, t, 'cancelled', '', t.c or ARGV[1], num(t.at) + 1, '', now))
      n = n + 1
    end
  elseif ticket_waits_for(id, place, message) then
    local g = group_read(id)
    if not g.bs and not g.c then
      redis.call('HSET', k_record(id), 'c', ARGV[1], 'cq', S(now))
      redis.call('ZADD', OPEN, S(now + HANDOVER), id)
      answer[#answer + 1] = id
      n = n + 1
    end
  end
end
answer[1], answer[2] = outbox, n
return answer
