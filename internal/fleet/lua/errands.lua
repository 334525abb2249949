-- errands looks, on the way with a beat, at all that the fleet needs somebody for, so that nobody has to ask for each of these
-- things by itself: work whose time has come, ends that wait to be told, deliveries that went astray, work that nobody rang for.
-- One worker leads: it does what has to be done once. Another takes over when it is silent.
-- KEYS    from first on: the worker's own bell; then step keys of each queue, the parked and if step is 4 asynq's pending list, pause
--         mark and leases; then open and outbox of each shard
-- a       1 queues  2 step  3 parked 0|1  4 name of the waiting  5 how long it counts, in ms  6 how long a bell rings, in ms  7 the
--         lease before which a message is a stray, in s  8 how long a lead counts, in ms
-- ANSWER  {leads 0|1, {place of each queue with strays…}, {earliest open work in ms or '', outbox 0|1}… for each shard}
local function errands(worker, lead, first, a)
  local queues, step = tonumber(a[1]), tonumber(a[2])
  local leader = redis.call('GET', lead) or worker
  if leader == worker then redis.call('SET', lead, worker, 'PX', a[8]) end
  if a[3] == '1' then look(first, queues, step, a[4], a[5], a[6]) end
  local strays = {}
  if step > 1 then
    for place = 1, queues do
      local leases = KEYS[first + place * step]
      if #redis.call('ZRANGEBYSCORE', leases, '-inf', a[7], 'LIMIT', 0, 1) > 0 then strays[#strays + 1] = place end
    end
  end
  local answer = {leader == worker and 1 or 0, strays}
  for key = first + 1 + queues * step, #KEYS, 2 do
    local head = redis.call('ZRANGE', KEYS[key], 0, 0, 'WITHSCORES')
    answer[#answer + 1] = {head[2] or '', redis.call('EXISTS', KEYS[key + 1])}
  end
  return answer
end
