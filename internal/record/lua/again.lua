-- again makes what waits for a message that is gone wait for another one, under the next number, nothing charged.
-- KEYS  1 the shard's prefix; touches open and the records named
-- ARGV  {task, id, '', message | ticket, group, place, message}… flattened
-- ANSWER {task, id, number, queue, alone 0|1 | ticket, group, nonce, place, number, queue}…: enqueue these; of what does not wait for that
--        message any more there is none
local acts, now = {}, now_ms()
for i = 1, #ARGV, 4 do
  local kind, id, place, message = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  if kind == 'task' then
    local t = waits_for(id, message)
    if t then
      local h = hand_over(id, t, now)
      acts[#acts + 1] = {'task', h[1], h[2], h[3], h[4]}
    end
  elseif ticket_waits_for(id, place, message) then
    acts[#acts + 1] = {'ticket', unpack(ticket_again(id, place, now))}
  end
end
return acts
